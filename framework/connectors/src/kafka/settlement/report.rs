//! What a settlement found, and whether the job may go on.

use flott_core::{CheckpointId, Error, ErrorKind, OperatorUid, Result};
use serde::{Deserialize, Serialize};

use super::{AuditItem, Committable, LossCause, Marker, MarkerOwner, SettlementPolicy, message};
use crate::kafka::client::{KafkaCode, ProducerIdentity, TransactionDescription};

/// What one settlement found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettlementReport {
    /// The sink.
    pub sink_uid: OperatorUid,
    /// The checkpoint that was restored.
    pub restored: Option<CheckpointId>,
    /// Transactions that answered the commit with success.
    pub committed: Vec<SettledTransaction>,
    /// Transactions that no longer answered but were committed before, as their marker or their records show.
    pub already_committed: Vec<SettledTransaction>,
    /// Listed transactions in which nothing was written.
    pub empty: Vec<SettledTransaction>,
    /// Transactional ids that were taken over.
    pub fenced: Vec<String>,
    /// Transactions that were aborted: readers miss their records.
    pub lost: Vec<LostTransaction>,
    /// Transactions of which nobody can tell: readers may miss their records.
    pub unknown: Vec<LostTransaction>,
    /// Listed transactions that are still open although their commit was not answered with success. Nothing was fenced:
    /// settle again.
    pub open: Vec<OpenTransaction>,
    /// Committed output that the restored checkpoint does not know.
    pub repeated: Vec<RepeatedOutput>,
    /// Markers that another job wrote under this prefix.
    pub foreign: Vec<ForeignMarker>,
    /// Partitions that have to know what was settled.
    pub to_audit: Vec<AuditItem>,
    /// Set when the transactional ids belong to another run of this job.
    pub claimed: Option<MarkerOwner>,
    /// Set when the checkpoint's transactions are in another cluster.
    pub other_cluster: Option<OtherCluster>,
}

/// A transaction that is settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledTransaction {
    /// Its id.
    pub transactional_id: String,
    /// Its checkpoint.
    pub checkpoint_id: CheckpointId,
}

/// A transaction that can still be committed, but was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenTransaction {
    /// Its id.
    pub transactional_id: String,
    /// Its checkpoint.
    pub checkpoint_id: CheckpointId,
    /// The answer of the broker to the commit, if one was sent.
    pub code: Option<KafkaCode>,
}

/// A transaction that is lost, or may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostTransaction {
    /// What the checkpoint knew of it, among it the partitions with their record counts.
    pub committable: Committable,
    /// How it came to be so.
    pub cause: LossCause,
    /// What the coordinator said last, before the fence.
    pub seen: Option<TransactionDescription>,
}

/// Output of a checkpoint that is not the restored one and not before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepeatedOutput {
    /// Id under which it was written.
    pub transactional_id: String,
    /// Its marker.
    pub marker: Marker,
}

/// A marker of another job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignMarker {
    /// Id (and group) that it is in.
    pub transactional_id: String,
    /// The other job, or the text found where a marker should be.
    pub owner: String,
}

/// The checkpoint and the settings speak of different clusters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherCluster {
    /// Cluster of the listed transactions.
    pub expected: String,
    /// Cluster that answered.
    pub found: Option<String>,
}

impl SettlementReport {
    pub(super) fn new(sink_uid: OperatorUid, restored: Option<CheckpointId>) -> Self {
        Self {
            sink_uid,
            restored,
            committed: Vec::new(),
            already_committed: Vec::new(),
            empty: Vec::new(),
            fenced: Vec::new(),
            lost: Vec::new(),
            unknown: Vec::new(),
            open: Vec::new(),
            repeated: Vec::new(),
            foreign: Vec::new(),
            to_audit: Vec::new(),
            claimed: None,
            other_cluster: None,
        }
    }

    /// How many records readers miss for certain.
    #[must_use]
    pub fn lost_records(&self) -> u64 {
        self.lost.iter().map(|lost| lost.committable.record_count()).sum()
    }

    /// Whether the job may be deployed.
    ///
    /// # Errors
    /// - [`ErrorKind::Settings`], when the prefix or the cluster is not this job's, or not this run's;
    /// - [`ErrorKind::Transient`], when a transaction is still open: settle again;
    /// - [`ErrorKind::OutputLost`], when output is or may be lost and nobody accepted that;
    /// - [`ErrorKind::State`], when output would be repeated and nobody allowed that.
    pub fn verdict(&self, policy: SettlementPolicy) -> Result<()> {
        if let Some(other) = &self.other_cluster {
            return Err(Error::new(ErrorKind::Settings, message::other_cluster(self, other)));
        }
        if !self.foreign.is_empty() {
            return Err(Error::new(ErrorKind::Settings, message::foreign(self)));
        }
        if !self.open.is_empty() {
            return Err(Error::transient(message::open(self)));
        }
        if !(policy.accept_lost_output || self.lost.is_empty() && self.unknown.is_empty()) {
            return Err(Error::new(ErrorKind::OutputLost, message::lost(self)));
        }
        if !(policy.allow_repeated_output || self.repeated.is_empty()) {
            return Err(Error::new(ErrorKind::State, message::repeated(self)));
        }
        if let Some(owner) = self.claimed.as_ref().filter(|_| !policy.allow_repeated_output) {
            return Err(Error::new(ErrorKind::Settings, message::claimed(self, owner)));
        }
        Ok(())
    }
}

impl LostTransaction {
    /// The producer it was written by.
    #[must_use]
    pub fn producer(&self) -> ProducerIdentity {
        self.committable.producer()
    }
}
