use std::fmt;

use flott_core::{SubtaskIndex, VertexId};
use serde::{Deserialize, Serialize};

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
