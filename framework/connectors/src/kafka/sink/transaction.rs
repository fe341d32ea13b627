//! A transaction that a barrier has closed, until its commit is known.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    time::Duration,
};

use flott_core::{
    CheckpointId, Error, ErrorKind, Generation, Result, ResultExt,
    record::{decode_foreign, encode_foreign},
};

use super::{flush::Flush, lane::Lane};
use crate::kafka::{
    background,
    blocking::BlockingClient,
    client::TransactionPhase,
    settlement::{Committable, Marker, MarkerOwner},
};

const FORMAT: u16 = 1;
const MARKER_TIMEOUT: Duration = Duration::from_secs(60);
/// How soon it is noticed that the writer is gone.
const ABANDONED_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Transaction {
    pub(super) id: String,
    pub(super) checkpoint: CheckpointId,
    pub(super) lane: Arc<Lane>,
    pub(super) flush: Arc<Flush>,
    pub(super) topic: Arc<str>,
    pub(super) owner: MarkerOwner,
    pub(super) generation: Generation,
    pub(super) client: Arc<BlockingClient>,
    pub(super) sealed: Mutex<Option<Committable>>,
}

impl Transaction {
    /// Delivers what is left, writes the commit marker and asks the coordinator for the transaction's identity: then
    /// anybody can commit it. Gives the encoded [`Committable`]. Does all this once, for the first checkpoint that lists
    /// it; for another one it looks whether the transaction is still there to be committed. Blocks.
    pub(super) fn seal(self: &Arc<Self>) -> Result<Vec<u8>> {
        self.flush.run()?;
        let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sealed.clone();
        let committable = self.in_background(move |transaction| match known {
            Some(known) => transaction.confirm(&known).map(|()| known),
            None => transaction.mark(),
        })?;
        Ok(encode(sealed.insert(committable)))
    }

    /// The checkpoint that listed it first may have failed after a long time. To list what has been aborted would be to
    /// lose it; if the task fails instead, its records are written again.
    fn confirm(&self, committable: &Committable) -> Result<()> {
        let seen = self.client.ask(async |client| client.describe_transaction(&self.id).await)?;
        if seen.is_some_and(|seen| committable.may_be_committed(&seen)) { Ok(()) } else { Err(self.gone()) }
    }

    fn gone(&self) -> Error {
        Error::transient(format!(
            "transaction {} of checkpoint {} is no longer open: it has timed out, or another producer has taken the id \
             over; a longer transaction timeout or a shorter checkpoint interval may help",
            self.id, self.checkpoint
        ))
    }

    /// An attempt that is over does not wait for brokers that are away, and librdkafka's calls cannot be broken off. What
    /// a call does later is in vain: by then its producer is fenced.
    fn in_background<R: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let (sender, marked) = sync_channel(1);
        let transaction = Arc::clone(self);
        background::run("kafka-seal", move || drop(sender.send(work(&transaction))));
        loop {
            match marked.recv_timeout(ABANDONED_PAUSE) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => self.lane.check()?,
                Err(RecvTimeoutError::Disconnected) => return Err(Error::internal("a seal has panicked")),
            }
        }
    }

    fn mark(&self) -> Result<Committable> {
        let marker =
            Marker { owner: self.owner.clone(), checkpoint: self.checkpoint, generation: self.generation };
        let offset = i64::try_from(self.checkpoint.0).or_error(ErrorKind::Internal, "checkpoint id")?;
        self.lane.producer().send_marker(
            &self.id,
            &self.topic,
            (offset, &marker.encode()),
            MARKER_TIMEOUT,
        )?;
        self.committable()
    }

    fn committable(&self) -> Result<Committable> {
        let seen = self.client.ask(async |client| client.describe_transaction(&self.id).await)?;
        let Some(seen) = seen.filter(|seen| seen.phase == TransactionPhase::Ongoing) else {
            return Err(self.gone());
        };
        let records = self.lane.delivered();
        Ok(Committable {
            transactional_id: self.id.clone(),
            producer_id: seen.producer_id,
            producer_epoch: seen.producer_epoch,
            checkpoint_id: self.checkpoint,
            txn_start_ms: seen.start_ms,
            timeout_ms: u32::try_from(seen.timeout_ms).unwrap_or(0),
            cluster_id: self.client.cluster_id()?,
            marker_topic: self.topic.to_string(),
            records,
        })
    }
}

pub(super) fn encode(committable: &Committable) -> Vec<u8> {
    let mut bytes = FORMAT.to_le_bytes().to_vec();
    encode_foreign(committable, &mut bytes);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Committable> {
    let invalid = |why: &str| Error::new(ErrorKind::State, format!("committable of a Kafka sink: {why}"));
    let (format, mut rest) = bytes.split_first_chunk::<2>().ok_or_else(|| invalid("it is cut short"))?;
    if u16::from_le_bytes(*format) != FORMAT {
        return Err(invalid("unknown format"));
    }
    let committable = decode_foreign(&mut rest).map_err(|error| invalid(&error.to_string()))?;
    if rest.is_empty() { Ok(committable) } else { Err(invalid("it is too long")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committables_survive_and_damage_is_refused() {
        let committable = Committable {
            transactional_id: "p.s.g1.0.2".into(),
            producer_id: 17,
            producer_epoch: 3,
            checkpoint_id: CheckpointId(9),
            txn_start_ms: Some(5),
            timeout_ms: 900_000,
            cluster_id: None,
            marker_topic: "out".into(),
            records: Vec::new(),
        };
        let bytes = encode(&committable);
        assert_eq!(decode(&bytes).unwrap(), committable);
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]).unwrap_err().kind(), ErrorKind::State);
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(decode(&longer).is_err());
    }
}
