//! The messages.

use flott_control::checkpoint::CheckpointKind;
use flott_core::{
    AttemptId, CheckpointId, Generation, JobIdentity, LeaderEpoch, OperatorUid,
    operator::Counters,
    task::{Failure, TaskAction, TaskFact, TaskId},
};
use flott_state::storage::{Manifest, WrittenSnapshot};
use serde::{Deserialize, Serialize};

/// A message under the JobManager's reign in which it counts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope<M> {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) message: M,
}

/// The first message of a TaskManager.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) build_id: String,
    pub(crate) slots: u32,
    /// Where it takes connections of other TaskManagers, at the address that this connection comes from.
    pub(crate) exchange_port: u16,
}

/// The JobManager's answer to [`Hello`].
#[derive(Serialize, Deserialize)]
pub(crate) enum Reception {
    Welcome(Box<Welcome>),
    /// No. Why is in the JobManager's log, and nowhere else: it would help a stranger.
    Refused,
    /// This JobManager checks the job and does not lead yet: come again.
    NotLeading,
}

/// The data from which a TaskManager builds the same program. It cannot be shown: parameters may be passwords.
#[derive(Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) epoch: LeaderEpoch,
    /// Differs between clusters.
    pub(crate) cluster: u64,
    pub(crate) job_name: String,
    /// JSON.
    pub(crate) parameters: String,
    /// JSON.
    pub(crate) settings: String,
    /// The checkpoint directory as the JobManager's machine names it, for people.
    pub(crate) checkpoint_place: String,
    /// Number of an entry that is in the journal there, or was until later ones replaced it.
    pub(crate) journal_entry: u64,
    pub(crate) fingerprint: u64,
    /// The job graph as JSON, to name the first difference.
    pub(crate) graph: String,
}

/// From a TaskManager.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToJobManager {
    /// Its program is the same: it may get tasks from now on.
    Registered,
    /// Its program is another: it leaves.
    Mismatch {
        reason: String,
    },
    Heartbeat {
        attempt: Option<AttemptId>,
        counters: Vec<OperatorCounters>,
    },
    /// It wants to leave: no more tasks.
    Draining,
    Task {
        attempt: AttemptId,
        task: TaskId,
        fact: TaskFact<WrittenSnapshot>,
    },
    /// The attempt cannot go on here, whatever the task.
    AttemptFailed {
        attempt: AttemptId,
        failure: Failure,
    },
    /// A file of the checkpoint cannot be read. The failure of the attempt follows.
    SnapshotDamaged {
        attempt: AttemptId,
    },
    /// Nothing of the attempt runs here any more.
    AttemptGone {
        attempt: AttemptId,
    },
}

/// What one operator has counted in all its subtasks in one TaskManager.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OperatorCounters {
    pub(crate) uid: OperatorUid,
    pub(crate) counters: Counters,
    /// The lowest of its subtasks; `i64::MIN` before the first.
    pub(crate) watermark: i64,
}

/// From the JobManager.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToTaskManager {
    Heartbeat,
    Deploy(Box<Deploy>),
    Cancel {
        attempt: AttemptId,
    },
    ToTask {
        attempt: AttemptId,
        task: TaskId,
        action: TaskAction,
    },
    TriggerCheckpoint {
        attempt: AttemptId,
        checkpoint: CheckpointId,
        kind: CheckpointKind,
    },
    CheckpointComplete {
        attempt: AttemptId,
        checkpoint: CheckpointId,
    },
    /// It will not be completed: nothing more needs to be written for it.
    AbortCheckpoint {
        attempt: AttemptId,
        checkpoint: CheckpointId,
    },
    /// The job is over. With a failure: it failed.
    JobOver {
        failure: Option<Failure>,
    },
    /// This JobManager goes, the job does not: wait for another.
    Leave {
        reason: String,
    },
}

/// An attempt's part in one TaskManager.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Deploy {
    pub(crate) job: JobIdentity,
    pub(crate) attempt: AttemptId,
    pub(crate) generation: Generation,
    /// The checkpoint to start from, without its list states.
    pub(crate) restore: Option<Manifest>,
    /// `HOST:PORT` of every TaskManager of the attempt.
    pub(crate) peers: Vec<String>,
    /// Which of `peers` the receiver is.
    pub(crate) me: u32,
    /// By subtask index: which of `peers` runs it.
    pub(crate) locations: Vec<u32>,
}
