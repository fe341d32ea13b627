use std::collections::{BTreeMap, BTreeSet};

use flott_core::{CheckpointId, task::TaskId};

/// How far the sinks of the running attempt have committed.
#[derive(Debug)]
pub struct CommitProgress {
    committed: BTreeMap<TaskId, Option<CheckpointId>>,
}

impl CommitProgress {
    /// `committers`: every task that reports its commits.
    #[must_use]
    pub fn new(committers: BTreeSet<TaskId>) -> Self {
        Self { committed: committers.into_iter().map(|task| (task, None)).collect() }
    }

    /// A new attempt starts: nobody has reported.
    pub fn reset(&mut self) {
        self.committed.values_mut().for_each(|committed| *committed = None);
    }

    /// `task` has committed everything up to `checkpoint`. Tasks that do not commit are ignored.
    pub fn on_committed(&mut self, task: TaskId, checkpoint: CheckpointId) {
        if let Some(committed) = self.committed.get_mut(&task) {
            *committed = (*committed).max(Some(checkpoint));
        }
    }

    /// Whether every committer has committed `checkpoint`.
    #[must_use]
    pub fn is_done(&self, checkpoint: CheckpointId) -> bool {
        self.committed.values().all(|&committed| committed >= Some(checkpoint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::task;

    const SEVEN: CheckpointId = CheckpointId(7);

    #[test]
    fn all_committers_have_to_report() {
        let mut commits = CommitProgress::new([task(1, 0), task(1, 1)].into());
        commits.on_committed(task(1, 0), SEVEN);
        commits.on_committed(task(0, 0), SEVEN);
        commits.on_committed(task(1, 1), CheckpointId(6));
        assert!(!commits.is_done(SEVEN));
        commits.on_committed(task(1, 1), CheckpointId(8));
        commits.on_committed(task(1, 1), CheckpointId(3));
        assert!(commits.is_done(SEVEN));
        commits.reset();
        assert!(!commits.is_done(CheckpointId(0)));
    }

    #[test]
    fn without_committers_everything_is_committed() {
        assert!(CommitProgress::new(BTreeSet::new()).is_done(SEVEN));
    }
}
