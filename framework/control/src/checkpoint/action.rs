use flott_core::{AttemptId, CheckpointId, MonotonicTime, task::TaskId};

use super::CheckpointKind;

/// What the coordinator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointAction<S> {
    /// Inject barriers at the sources.
    Trigger {
        /// The attempt that takes it.
        attempt: AttemptId,
        /// The new checkpoint.
        checkpoint: CheckpointId,
        /// Why it is taken.
        kind: CheckpointKind,
    },
    /// Every task acknowledged: write the manifest, then append to the journal, then report stored or not stored.
    Store {
        /// The attempt that took it.
        attempt: AttemptId,
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Why it was taken.
        kind: CheckpointKind,
        /// One part per task, in the order of tasks.
        parts: Vec<Part<S>>,
        /// Later than this the append must not begin: then it is not stored.
        append_before: MonotonicTime,
    },
    /// It was stored so late that what it lists may be aborted before it is committed: take it out of the journal again,
    /// then report it withdrawn or not withdrawn. Nobody has been told to commit.
    Withdraw {
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// The checkpoint is durable.
    Complete {
        /// The attempt that took it, unless that is over.
        attempt: Option<AttemptId>,
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Why it was taken.
        kind: CheckpointKind,
    },
    /// The checkpoint will not complete: tasks forget it, its snapshots can be deleted.
    Abort {
        /// The attempt that took it.
        attempt: AttemptId,
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Why not.
        reason: String,
    },
    /// Delete these completed checkpoints.
    Discard {
        /// In ascending order.
        checkpoints: Vec<CheckpointId>,
    },
    /// Too many failures in a row: the attempt has failed.
    FailAttempt {
        /// What to tell.
        message: String,
    },
    /// A newer leader has written: this JobManager must not act any more.
    StepDown,
}

/// One task's part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<S> {
    /// The task.
    pub task: TaskId,
    /// What it acknowledged with.
    pub snapshot: S,
}
