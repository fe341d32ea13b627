//! A transaction that a barrier has closed, until its commit is known.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    time::Duration,
};

use flott_core::{CheckpointId, Error, ErrorKind, Generation, Result, ResultExt};

use super::{flush::Flush, lane::Lane};
use crate::kafka::{
    background,
    blocking::BlockingClient,
    client::{TransactionDescription, TransactionPhase},
    settlement::{Committable, Marker, MarkerOwner},
};

const MARKER_TIMEOUT: Duration = Duration::from_secs(60);
/// How soon it is noticed that the writer is gone.
const ABANDONED_PAUSE: Duration = Duration::from_millis(50);

/// The reason why the writer's task has to fail, once there is one: a pending transaction cannot be listed by any checkpoint
/// any more. To decline one checkpoint after the other would not help.
#[derive(Debug, Default)]
pub(super) struct Doom(OnceLock<String>);

impl Doom {
    fn pronounce(&self, why: String) -> Error {
        Error::transient(self.0.get_or_init(|| why).clone())
    }

    pub(super) fn check(&self) -> Result<()> {
        self.0.get().map_or(Ok(()), |why| Err(Error::transient(why.clone())))
    }
}

pub(super) struct Transaction {
    pub(super) id: String,
    pub(super) checkpoint: CheckpointId,
    pub(super) lane: Arc<Lane>,
    pub(super) flush: Arc<Flush>,
    pub(super) topic: Arc<str>,
    pub(super) owner: MarkerOwner,
    pub(super) generation: Generation,
    pub(super) client: Arc<BlockingClient>,
    /// It must not be listed when it has been open for longer.
    pub(super) listed_within: Duration,
    /// Tells the writer that its task must fail, and why.
    pub(super) doom: Arc<Doom>,
    pub(super) sealed: Mutex<Option<Committable>>,
}

impl Transaction {
    /// Delivers what is left, writes the commit marker and asks the coordinator for the transaction's identity: then
    /// anybody can commit it. Gives the encoded [`Committable`]. Does all this once, for the first checkpoint that lists
    /// it; for another one it looks whether the transaction is still there to be committed. Blocks.
    pub(super) fn seal(self: &Arc<Self>) -> Result<Vec<u8>> {
        self.check_age()?;
        self.flush.run()?;
        let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sealed.clone();
        let committable = self.in_background(move |transaction| match known {
            Some(known) => transaction.confirm(&known).map(|()| known),
            None => transaction.mark(),
        })?;
        Ok(sealed.insert(committable).encode())
    }

    /// The checkpoint that listed it first may have failed after a long time. To list what has been aborted would be to
    /// lose it.
    fn confirm(&self, committable: &Committable) -> Result<()> {
        match self.describe()? {
            Some(seen) if committable.may_be_committed(&seen) => Ok(()),
            _ => Err(self.gone()),
        }
    }

    fn describe(&self) -> Result<Option<TransactionDescription>> {
        self.client.ask(async |client| client.describe_transaction(&self.id).await)
    }

    /// The committable, if a checkpoint has listed the transaction.
    pub(super) fn committable(&self) -> Option<Committable> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An older transaction may be aborted before the checkpoint is stored and its output committed, even if the broker shows
    /// it open: it looks for transactions that have timed out from time to time only.
    pub(super) fn check_age(&self) -> Result<()> {
        let age = self.lane.transaction_age();
        if age <= self.listed_within {
            return Ok(());
        }
        Err(self.doom.pronounce(format!(
            "transaction {} of checkpoint {} has been open for {age:?}; a checkpoint may list it within {:?}, half of its \
             timeout, so that it is committed before Kafka aborts it. Its records are written again. If checkpoints are \
             that slow, raise the transaction timeout",
            self.id, self.checkpoint, self.listed_within
        )))
    }

    fn gone(&self) -> Error {
        self.doom.pronounce(format!(
            "transaction {} of checkpoint {} is no longer open: it has timed out, or another producer has taken the id \
             over. Its records are written again",
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
        let marked = self.lane.producer().send_marker(
            &self.id,
            &self.topic,
            (offset, &marker.encode()),
            MARKER_TIMEOUT,
        );
        let seen = self.open_and_ours(self.describe()?)?;
        marked?;
        self.describe_for_recovery(&seen)
    }

    /// The id may have been taken over since the marker was written: then what is open under it is not to be committed.
    fn open_and_ours(&self, seen: Option<TransactionDescription>) -> Result<TransactionDescription> {
        let is_it = |seen: &TransactionDescription| {
            seen.phase == TransactionPhase::Ongoing && self.lane.identity() == Some(seen.producer())
        };
        seen.filter(is_it).ok_or_else(|| self.gone())
    }

    fn describe_for_recovery(&self, seen: &TransactionDescription) -> Result<Committable> {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::kafka::{
        client::ProducerIdentity,
        sink::{outbox::Outbox, settings::SinkSettings},
    };

    const OURS: ProducerIdentity = ProducerIdentity { id: 7, epoch: 3 };

    /// A transaction whose producer reaches no broker.
    fn transaction() -> Transaction {
        let settings = SinkSettings::new("127.0.0.1:1", "t");
        let config = settings.transactional_config("p.a.g1.0.0", Duration::from_secs(60)).unwrap();
        let lane = Arc::new(Lane::new(&settings, &config).unwrap());
        lane.set_identity(OURS);
        Transaction {
            id: "p.a.g1.0.0".into(),
            checkpoint: CheckpointId(5),
            flush: Arc::new(Flush::new(Arc::clone(&lane), Outbox::default(), true, None)),
            lane,
            topic: "t".into(),
            owner: MarkerOwner { job: "job".into(), run: "run".into() },
            generation: Generation(1),
            client: Arc::new(BlockingClient::new(&settings.properties).unwrap()),
            listed_within: Duration::from_secs(30),
            doom: Arc::default(),
            sealed: Mutex::default(),
        }
    }

    fn seen(phase: TransactionPhase, producer: ProducerIdentity) -> TransactionDescription {
        TransactionDescription {
            phase,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            timeout_ms: 60_000,
            start_ms: Some(1_000),
            partitions: BTreeSet::new(),
        }
    }

    /// A producer that takes the id over after the marker was written has another epoch or another id.
    #[test]
    fn what_another_producer_has_open_under_the_id_is_not_listed() {
        use TransactionPhase::{CompleteAbort, Ongoing};
        let ours = transaction();
        assert_eq!(ours.open_and_ours(Some(seen(Ongoing, OURS))).unwrap().producer(), OURS);
        ours.doom.check().unwrap();
        let (next, other) = (ProducerIdentity { epoch: 4, ..OURS }, ProducerIdentity { id: 8, ..OURS });
        for seen in
            [Some(seen(Ongoing, next)), Some(seen(Ongoing, other)), Some(seen(CompleteAbort, OURS)), None]
        {
            let ours = transaction();
            let error = ours.open_and_ours(seen).unwrap_err().to_string();
            assert!(error.contains("transaction p.a.g1.0.0 of checkpoint 5 is no longer open"), "{error}");
            assert!(ours.doom.check().is_err(), "its task fails");
        }
    }
}
