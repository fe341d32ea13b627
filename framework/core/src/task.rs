//! Words that JobManager and TaskManagers use for a task: its id, and a failure as plain data.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, ErrorKind},
    id::{SubtaskIndex, VertexId},
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
