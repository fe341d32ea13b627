//! Words that JobManager, TaskManagers and tasks share: the id of a task, actions for it, and a failure as plain data.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, ErrorKind},
    id::{CheckpointId, SubtaskIndex, VertexId},
    source::Split,
};

/// One parallel copy of one vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The vertex.
    pub vertex: VertexId,
    /// Which copy of it.
    pub subtask: SubtaskIndex,
}

impl TaskId {
    /// Copy `subtask` of `vertex`.
    #[must_use]
    pub const fn new(vertex: VertexId, subtask: SubtaskIndex) -> Self {
        Self { vertex, subtask }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vertex, self.subtask)
    }
}

/// A request to one task. It reaches the task as the value that the JobManager or the TaskManager has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskAction {
    /// The task's source reads these splits as well. An empty list says that there are none for it now.
    AddSplits(Vec<Split>),
    /// The task's source gets no more splits.
    NoMoreSplits,
    /// The task's source injects the barrier of this checkpoint. Only tasks with a source get it: the others wait for
    /// barriers.
    TriggerCheckpoint {
        /// The new checkpoint.
        checkpoint: CheckpointId,
        /// No checkpoint of this attempt follows it: the source reads no further, since the records would be thrown away.
        is_last: bool,
    },
    /// This checkpoint is complete: sinks commit.
    CompleteCheckpoint(CheckpointId),
}

/// Why something ended: an error as plain data, which can be compared, sent and kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What happens next.
    pub kind: ErrorKind,
    /// What happened, why, and what to do about it.
    pub message: String,
    /// The position in a source of the records that were processed then, if it is known.
    pub position: Option<String>,
}

impl Failure {
    /// A failure of `kind`.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), position: None }
    }

    /// Whether a restart of the job can help.
    #[must_use]
    pub fn is_restartable(&self) -> bool {
        self.kind.is_restartable()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.position.iter().try_for_each(|position| write!(f, " (while it processed {position})"))
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { position: error.position().map(str::to_owned), ..Self::new(error.kind(), error.to_string()) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        Self::new(failure.kind, message)
    }
}
