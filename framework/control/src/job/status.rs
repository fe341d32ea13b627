use std::fmt;

use serde::{Deserialize, Serialize};

/// Where the job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JobStatus {
    /// Nothing was done yet.
    Created,
    /// What the last checkpoint left open outside is brought to an end.
    Settling,
    /// The delay of the restart strategy runs.
    Restarting,
    /// There are not enough free slots, or their last tasks have not gone yet.
    WaitingForSlots,
    /// An attempt was sent to its slots and not every task runs yet.
    Deploying,
    /// Every task runs.
    Running,
    /// The final checkpoint is completed; the sinks commit their last output.
    Finishing,
    /// The last checkpoint before a suspension is taken and committed.
    Stopping,
    /// The job has failed for good; its tasks are being ended.
    Failing,
    /// The job was cancelled; its tasks are being ended.
    Cancelling,
    /// The bounded job is done and everything is committed.
    Finished,
    /// The job failed for good.
    Failed,
    /// The job was cancelled on request.
    Cancelled,
    /// This JobManager stops, the job does not: a later JobManager goes on with it.
    Suspended,
}

impl JobStatus {
    /// Whether nothing follows in this JobManager.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled | Self::Suspended)
    }

    /// Whether the job must not be run again by another JobManager.
    #[must_use]
    pub fn is_globally_terminal(self) -> bool {
        self.is_over() && self != Self::Suspended
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "CREATED",
            Self::Settling => "SETTLING",
            Self::Restarting => "RESTARTING",
            Self::WaitingForSlots => "WAITING_FOR_SLOTS",
            Self::Deploying => "DEPLOYING",
            Self::Running => "RUNNING",
            Self::Finishing => "FINISHING",
            Self::Stopping => "STOPPING",
            Self::Failing => "FAILING",
            Self::Cancelling => "CANCELLING",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Suspended => "SUSPENDED",
        })
    }
}
