use std::collections::BTreeSet;

use flott_core::{SubtaskIndex, VertexId, task::TaskId};

/// What the JobMaster has to know of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobOutline {
    /// In the order of their ids.
    pub vertices: Vec<VertexOutline>,
}

/// One vertex of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VertexOutline {
    /// Number of its subtasks, at least one.
    pub parallelism: u32,
    /// It begins with a source, whose splits are assigned from here.
    pub is_source: bool,
    /// It holds a sink that commits: its tasks report what they have committed.
    pub is_committer: bool,
}

impl JobOutline {
    /// Slots that an attempt needs: slot sharing puts subtask i of every vertex in one.
    #[must_use]
    pub fn slots_needed(&self) -> u32 {
        self.vertices.iter().map(|vertex| vertex.parallelism).max().unwrap_or(0)
    }

    /// Every task.
    #[must_use]
    pub fn tasks(&self) -> BTreeSet<TaskId> {
        self.tasks_of(|_| true)
    }

    /// Number of tasks.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.vertices.iter().map(|vertex| vertex.parallelism as usize).sum()
    }

    /// Whether the job has this task.
    #[must_use]
    pub fn has(&self, task: TaskId) -> bool {
        self.vertices.get(task.vertex.0 as usize).is_some_and(|vertex| task.subtask.0 < vertex.parallelism)
    }

    /// The tasks that commit.
    #[must_use]
    pub fn committers(&self) -> BTreeSet<TaskId> {
        self.tasks_of(|vertex| vertex.is_committer)
    }

    /// The sources, with their parallelism.
    pub fn sources(&self) -> impl Iterator<Item = (VertexId, u32)> + '_ {
        self.numbered().filter(|(_, vertex)| vertex.is_source).map(|(id, vertex)| (id, vertex.parallelism))
    }

    fn tasks_of(&self, is_meant: impl Fn(&VertexOutline) -> bool) -> BTreeSet<TaskId> {
        self.numbered()
            .filter(|(_, vertex)| is_meant(vertex))
            .flat_map(|(id, vertex)| (0..vertex.parallelism).map(move |i| TaskId::new(id, SubtaskIndex(i))))
            .collect()
    }

    fn numbered(&self) -> impl Iterator<Item = (VertexId, &VertexOutline)> + '_ {
        (0..).map(VertexId).zip(&self.vertices)
    }
}
