//! What a checkpoint remembers of a transaction.

use flott_core::CheckpointId;
use serde::{Deserialize, Serialize};

use crate::kafka::client::{ProducerIdentity, TransactionDescription, TransactionPhase};

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

    /// The record to look up where no marker tells: the first of any partition.
    #[must_use]
    pub fn witness(&self) -> Option<Evidence> {
        let first = |partition: &PartitionRecords| Evidence {
            topic: partition.topic.clone(),
            partition: partition.partition,
            offset: partition.offset_first,
        };
        self.records.iter().find(|partition| partition.offset_first >= 0).map(first)
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

    /// Whether the coordinator says that this very transaction was aborted.
    #[must_use]
    pub fn is_seen_aborted(&self, seen: &TransactionDescription) -> bool {
        seen.phase.is_aborted()
            && seen.producer_id == self.producer_id
            && self.txn_start_ms.is_some()
            && seen.start_ms == self.txn_start_ms
    }
}
