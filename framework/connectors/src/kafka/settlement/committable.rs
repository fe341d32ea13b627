//! What a checkpoint remembers of a transaction.

use flott_core::{CheckpointId, DecodeError, Error, ErrorKind, Record, Result, format::Format};
use serde::{Deserialize, Serialize};

use crate::kafka::client::{ProducerIdentity, TransactionDescription, TransactionPhase};

/// Format 1 had the fields in an encoding that could not grow; no release wrote it.
const FORMAT: Format = Format { name: "committable of a Kafka sink", oldest: 2, newest: 2 };

type EncodedRecords = (String, i32, u64, i64, i64);

/// A transaction that a sink subtask flushed and pre-committed at a barrier. Part of its snapshot until a later
/// checkpoint no longer lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committable {
    /// Id it was produced under.
    pub transactional_id: String,
    /// Producer id, as the coordinator told at the barrier.
    pub producer_id: i64,
    /// Producer epoch, as the coordinator told at the barrier.
    pub producer_epoch: i16,
    /// Checkpoint whose completion commits it.
    pub checkpoint_id: CheckpointId,
    /// When the coordinator saw it begin, in milliseconds since the epoch; `None` where it cannot be asked.
    pub txn_start_ms: Option<i64>,
    /// After how long the broker aborts it.
    pub timeout_ms: u32,
    /// Cluster that it is in; `None` where brokers do not tell.
    pub cluster_id: Option<String>,
    /// Topic of its marker (partition 0).
    pub marker_topic: String,
    /// What was written in it, by delivery reports.
    pub records: Vec<PartitionRecords>,
}

/// Records of a transaction in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRecords {
    /// Output topic.
    pub topic: String,
    /// Partition of it.
    pub partition: i32,
    /// How many records were delivered.
    pub records: u64,
    /// Lowest offset of them.
    pub offset_first: i64,
    /// Highest offset of them.
    pub offset_last: i64,
}

/// Where one record of a transaction was delivered: a second witness, should the marker have expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Output topic.
    pub topic: String,
    /// Partition of it.
    pub partition: i32,
    /// Offset of the record.
    pub offset: i64,
}

impl Committable {
    /// Its bytes in a checkpoint.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let format = u16::try_from(FORMAT.newest).expect("formats are few");
        let records = self
            .records
            .iter()
            .map(|of| (of.topic.clone(), of.partition, of.records, of.offset_first, of.offset_last));
        format.encode(&mut bytes);
        self.transactional_id.encode(&mut bytes);
        (self.producer_id, self.producer_epoch, self.checkpoint_id.0).encode(&mut bytes);
        (self.txn_start_ms, self.timeout_ms).encode(&mut bytes);
        self.cluster_id.encode(&mut bytes);
        self.marker_topic.encode(&mut bytes);
        records.collect::<Vec<EncodedRecords>>().encode(&mut bytes);
        bytes
    }

    /// Reads what [`Self::encode`] wrote, by the rule of [`flott_core::format`].
    ///
    /// # Errors
    /// [`ErrorKind::State`] when a newer Flott wrote it, or it is damaged.
    pub fn decode(mut bytes: &[u8]) -> Result<Self> {
        let damaged = |error| Error::new(ErrorKind::State, format!("{} is damaged: {error}", FORMAT.name));
        let format = u16::decode(&mut bytes).map_err(damaged)?;
        FORMAT.check(format.into())?;
        Self::decode_fields(&mut bytes).map_err(damaged)
    }

    fn decode_fields(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let transactional_id = String::decode(input)?;
        let (producer_id, producer_epoch, checkpoint_id) = <(i64, i16, u64)>::decode(input)?;
        let (txn_start_ms, timeout_ms) = <(Option<i64>, u32)>::decode(input)?;
        let cluster_id = Option::decode(input)?;
        let marker_topic = String::decode(input)?;
        let records = Vec::<EncodedRecords>::decode(input)?.into_iter();
        let records = records.map(|(topic, partition, records, offset_first, offset_last)| {
            PartitionRecords { topic, partition, records, offset_first, offset_last }
        });
        Ok(Self {
            transactional_id,
            producer_id,
            producer_epoch,
            checkpoint_id: CheckpointId(checkpoint_id),
            txn_start_ms,
            timeout_ms,
            cluster_id,
            marker_topic,
            records: records.collect(),
            // Fields that a later version appends go here, each read with `format::appended`.
        })
    }

    /// The producer it was written by.
    #[must_use]
    pub fn producer(&self) -> ProducerIdentity {
        ProducerIdentity { id: self.producer_id, epoch: self.producer_epoch }
    }

    /// How many records are in it.
    #[must_use]
    pub fn record_count(&self) -> u64 {
        self.records.iter().map(|partition| partition.records).sum()
    }

    /// The records to look up where no marker tells: the first of each partition.
    #[must_use]
    pub fn witnesses(&self) -> Vec<Evidence> {
        let first = |partition: &PartitionRecords| Evidence {
            topic: partition.topic.clone(),
            partition: partition.partition,
            offset: partition.offset_first,
        };
        self.records.iter().filter(|partition| partition.offset_first >= 0).map(first).collect()
    }

    /// Whether the coordinator speaks of another transaction of the same producer: one that began at another time.
    /// To end that one would commit what no checkpoint lists.
    #[must_use]
    pub fn is_superseded(&self, seen: &TransactionDescription) -> bool {
        let is_same_producer =
            (seen.producer_id, seen.producer_epoch) == (self.producer_id, self.producer_epoch);
        match (self.txn_start_ms, seen.start_ms) {
            (Some(ours), Some(theirs)) => is_same_producer && ours != theirs,
            _ => false,
        }
    }

    /// Whether this very transaction is still open, or is or was committed.
    #[must_use]
    pub fn may_be_committed(&self, seen: &TransactionDescription) -> bool {
        let is_open_or_committed = match seen.phase {
            TransactionPhase::Ongoing => !self.is_superseded(seen),
            TransactionPhase::PrepareCommit | TransactionPhase::CompleteCommit => true,
            _ => false,
        };
        is_open_or_committed && seen.producer_id == self.producer_id
    }

    /// Returns `true` if the coordinator shows this very transaction open: it can still be committed.
    #[must_use]
    pub fn is_still_open(&self, seen: &TransactionDescription) -> bool {
        seen.phase == TransactionPhase::Ongoing
            && (seen.producer_id, seen.producer_epoch) == (self.producer_id, self.producer_epoch)
            && !self.is_superseded(seen)
    }

    /// Whether the coordinator says that this very transaction was aborted.
    #[must_use]
    pub fn is_seen_aborted(&self, seen: &TransactionDescription) -> bool {
        seen.phase.is_aborted()
            && seen.producer_id == self.producer_id
            && self.txn_start_ms.is_some()
            && seen.start_ms == self.txn_start_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::golden;

    fn committable() -> Committable {
        Committable {
            transactional_id: "p.s.g1.0.2".into(),
            producer_id: 17,
            producer_epoch: 3,
            checkpoint_id: CheckpointId(9),
            txn_start_ms: Some(5),
            timeout_ms: 900_000,
            cluster_id: Some("Some-Cluster".into()),
            marker_topic: "out".into(),
            records: vec![PartitionRecords {
                topic: "out".into(),
                partition: 4,
                records: 1000,
                offset_first: 20,
                offset_last: 1021,
            }],
        }
    }

    #[test]
    fn golden_committables_stay_readable() {
        let bytes = golden("kafka-committable-v2.bin", &committable().encode());
        assert_eq!(Committable::decode(&bytes).unwrap(), committable());
    }

    #[test]
    fn damage_is_refused_and_what_later_versions_append_is_not() {
        let bytes = committable().encode();
        for cut in 0..bytes.len() {
            assert_eq!(Committable::decode(&bytes[..cut]).unwrap_err().kind(), ErrorKind::State);
        }
        let later = [&bytes[..], b"a later field"].concat();
        assert_eq!(Committable::decode(&later).unwrap(), committable());
        for (format, expected) in [(1, "is not known"), (3, "written by a newer Flott: format 3")] {
            let error = Committable::decode(&[format, 0, 0xFF]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
