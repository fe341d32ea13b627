use std::time::Duration;

use flott_core::{
    AttemptId, CheckpointId, Generation, TaskManagerId, VertexId,
    source::Split,
    task::{Failure, TaskFact, TaskId},
};

use super::RestoredCheckpoint;
use crate::checkpoint::StoreFailure;

/// A fact that the driver reports to the JobMaster. `S` is the written snapshot of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "variants are documented; their fields are named by their types")]
pub enum Fact<S> {
    /// A TaskManager registered. Ids grow in the order of these facts; a TaskManager that comes back gets a new one.
    /// It runs nothing of an earlier registration.
    TaskManagerRegistered { task_manager: TaskManagerId, slots: u32 },
    /// A sign of life.
    Heartbeat { task_manager: TaskManagerId },
    /// The TaskManager said goodbye; it stays until its tasks have gone.
    TaskManagerDraining { task_manager: TaskManagerId },
    /// The connection broke.
    TaskManagerLost { task_manager: TaskManagerId, reason: String },

    /// A task of the attempt has reported this.
    Task { attempt: AttemptId, task: TaskId, fact: TaskFact<S> },
    /// The attempt has failed, whatever the task.
    AttemptFailed { attempt: AttemptId, failure: Failure },
    /// A snapshot file that a task was to be restored from is damaged.
    SnapshotDamaged,
    /// Positively nothing of the attempt runs in this TaskManager any more. The answer to `CancelTasks`, and to a
    /// `Deploy` that is refused.
    AttemptGone { attempt: AttemptId, task_manager: TaskManagerId },

    /// Answer to `StoreCheckpoint`: the journal lists it.
    CheckpointStored { checkpoint: CheckpointId },
    /// Answer to `StoreCheckpoint`: the journal certainly does not list it.
    CheckpointStoreFailed { checkpoint: CheckpointId, cause: StoreFailure },
    /// Answer to `WithdrawCheckpoint`: the journal does not list it any more.
    CheckpointWithdrawn { checkpoint: CheckpointId },
    /// Answer to `WithdrawCheckpoint`: the journal could not be written.
    CheckpointNotWithdrawn { checkpoint: CheckpointId },

    /// Answer to `RaiseGeneration`.
    GenerationRaised { generation: Generation },
    /// Answer to `RaiseGeneration`: the store could not be written. A conflict is reported as `Deposed`.
    GenerationNotRaised { failure: Failure },
    /// Answer to `ReadCheckpoint`: it can be restored.
    CheckpointRead { checkpoint: CheckpointId },
    /// Answer to `ReadCheckpoint`: it is not as it was written.
    CheckpointUnreadable { checkpoint: CheckpointId, reason: String },
    /// Answer to `Settle`: everything the checkpoint lists is committed or known to be, all older ids are fenced. None:
    /// there is no checkpoint to restore. For `sweep_for` late zombies may still open what is worth a sweep. Output that
    /// is not committed within `transaction_timeout` will be lost.
    Settled {
        restored: Option<RestoredCheckpoint>,
        sweep_for: Duration,
        transaction_timeout: Option<Duration>,
    },
    /// Answer to `ReadCheckpoint` and `Settle`. The kind says whether trying again can help.
    SettleFailed { failure: Failure },

    /// Answer to `Sweep`: it is over. If it has failed, the next one will do.
    Swept,

    /// Splits of a source were found; known ones may be among them.
    SplitsDiscovered { vertex: VertexId, splits: Vec<Split> },
    /// All splits of the source were found, by this JobManager.
    DiscoveryEnded { vertex: VertexId },
    /// Discovery has ended with a failure; it is asked for again after a restart.
    DiscoveryFailed { vertex: VertexId, failure: Failure },

    /// SIGTERM or SIGINT at the JobManager: this process is to end, the job is not. Each further request takes the next
    /// [`ShutdownStep`](super::ShutdownStep).
    ShutdownRequested,
    /// The job is to be suspended: last checkpoint, state kept.
    StopRequested,
    /// The job is to end now.
    CancelRequested,
    /// Another JobManager leads.
    Deposed,
    /// The monotonic clock has missed this time: the machine was suspended. External systems have counted it.
    TimeMissed { missed: Duration },
}
