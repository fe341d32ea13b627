use std::fmt;

use flott_core::{SubtaskIndex, TaskManagerId};
use serde::{Deserialize, Serialize};

/// One slot of a TaskManager, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotIndex(pub u32);

impl fmt::Display for SlotIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where one slice of the pipeline runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotAssignment {
    /// This subtask of every vertex that has so many.
    pub subtask: SubtaskIndex,
    /// The TaskManager that runs it.
    pub task_manager: TaskManagerId,
    /// The slot in that TaskManager.
    pub slot: SlotIndex,
}
