use std::collections::BTreeSet;

use flott_core::{AttemptId, CheckpointId, Generation, MonotonicTime, TaskManagerId, task::TaskId};

use super::JobStatus;

/// The attempt that is deployed.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) attempt: AttemptId,
    pub(super) generation: Generation,
    /// Where it runs.
    pub(super) task_managers: BTreeSet<TaskManagerId>,
    pub(super) phase: Phase,
    /// When it has to give up: deploying too slowly, or stopping too slowly.
    pub(super) deadline: Option<MonotonicTime>,
}

/// How far an attempt is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Not every task runs yet. A short task may have ended before the last one runs.
    Deploying { running: BTreeSet<TaskId>, ended: BTreeSet<TaskId> },
    /// Every task runs.
    Running,
    /// The final checkpoint is completed and is being committed.
    Finishing { checkpoint: CheckpointId },
    /// The last checkpoint before a suspension is taken, then committed.
    Stopping { checkpoint: Option<CheckpointId> },
}

impl Execution {
    pub(super) fn status(&self) -> JobStatus {
        match self.phase {
            Phase::Deploying { .. } => JobStatus::Deploying,
            Phase::Running => JobStatus::Running,
            Phase::Finishing { .. } => JobStatus::Finishing,
            Phase::Stopping { .. } => JobStatus::Stopping,
        }
    }
}
