//! What a settlement is asked to do.

use flott_core::{CheckpointId, Generation, OperatorUid};
use serde::{Deserialize, Serialize};

use super::{Committable, MarkerOwner};

/// One sink's part of a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlementRequest {
    /// The user's prefix of transactional ids.
    pub prefix: String,
    /// The sink.
    pub sink_uid: OperatorUid,
    /// Topic of its markers (partition 0).
    pub marker_topic: String,
    /// Whose markers are ours.
    pub owner: MarkerOwner,
    /// The checkpoint that is restored; `None` when the job starts from nothing.
    pub restored: Option<CheckpointId>,
    /// A newer checkpoint was completed but could not be read.
    pub is_fallback: bool,
    /// All transactions that it lists for this sink.
    pub committables: Vec<Committable>,
    /// Generations whose ids were used and not fenced since.
    pub scopes: Vec<IdScope>,
    /// What a person has allowed.
    pub policy: SettlementPolicy,
    /// Leaves the commits out, to show what that costs.
    #[cfg(feature = "ablation")]
    pub skip_settle: bool,
    /// Takes any transaction of a listed producer for the listed one, to show what that costs.
    #[cfg(feature = "ablation")]
    pub skip_start_times: bool,
}

/// The ids that one generation may have used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdScope {
    /// The generation.
    pub generation: Generation,
    /// Its number of subtasks.
    pub parallelism: u32,
    /// Its highest number of producers per subtask.
    pub slots_max: u32,
}

/// What a person has allowed when they started the job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettlementPolicy {
    /// Go on although output of later checkpoints is committed and will be written again.
    pub allow_repeated_output: bool,
    /// Go on although output is lost, or may be.
    pub accept_lost_output: bool,
}

impl SettlementRequest {
    /// A request with nothing to settle or fence, for a job that starts from nothing.
    #[must_use]
    pub fn new(
        prefix: impl Into<String>,
        sink_uid: OperatorUid,
        marker_topic: impl Into<String>,
        owner: MarkerOwner,
    ) -> Self {
        Self {
            prefix: prefix.into(),
            sink_uid,
            marker_topic: marker_topic.into(),
            owner,
            restored: None,
            is_fallback: false,
            committables: Vec::new(),
            scopes: Vec::new(),
            policy: SettlementPolicy::default(),
            #[cfg(feature = "ablation")]
            skip_settle: false,
            #[cfg(feature = "ablation")]
            skip_start_times: false,
        }
    }

    pub(super) fn is_settling(&self) -> bool {
        #[cfg(feature = "ablation")]
        return !self.skip_settle;
        #[cfg(not(feature = "ablation"))]
        true
    }

    pub(super) fn is_comparing_start_times(&self) -> bool {
        #[cfg(feature = "ablation")]
        return !self.skip_start_times;
        #[cfg(not(feature = "ablation"))]
        true
    }
}
