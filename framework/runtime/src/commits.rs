//! The commits of the sinks of one task.

use std::collections::BTreeMap;

use flott_core::{CheckpointId, OperatorUid};

/// Turns the commits of the sinks of a task into those of the task. The job ends only when every task has reported the last
/// checkpoint, so a task must not report a checkpoint before the last of its sinks has committed it.
#[derive(Debug)]
pub(crate) struct TaskCommits {
    sinks: BTreeMap<OperatorUid, Option<CheckpointId>>,
    reported: Option<CheckpointId>,
}

impl TaskCommits {
    /// `sinks`: every sink of the task that commits.
    #[must_use]
    pub(crate) fn new(sinks: impl IntoIterator<Item = OperatorUid>) -> Self {
        Self { sinks: sinks.into_iter().map(|uid| (uid, None)).collect(), reported: None }
    }

    /// `sink` has committed everything up to `checkpoint`. Sinks for which nobody waits are ignored.
    pub(crate) fn on_committed(&mut self, sink: &OperatorUid, checkpoint: CheckpointId) {
        if let Some(committed) = self.sinks.get_mut(sink) {
            *committed = (*committed).max(Some(checkpoint));
        }
    }

    /// The newest checkpoint that all sinks have committed, once.
    pub(crate) fn take_news(&mut self) -> Option<CheckpointId> {
        let committed = self.sinks.values().copied().min().flatten();
        if committed <= self.reported {
            return None;
        }
        self.reported = committed;
        committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(name: &str) -> OperatorUid {
        OperatorUid::new(name).unwrap()
    }

    /// The news after `sink` has committed `checkpoint`.
    fn after(commits: &mut TaskCommits, sink: &str, checkpoint: u64) -> Option<u64> {
        commits.on_committed(&uid(sink), CheckpointId(checkpoint));
        commits.take_news().map(|checkpoint| checkpoint.0)
    }

    #[test]
    fn a_task_has_committed_what_the_last_of_its_sinks_has() {
        let mut commits = TaskCommits::new([uid("a"), uid("b")]);
        assert_eq!(after(&mut commits, "a", 7), None);
        assert_eq!(after(&mut commits, "b", 7), Some(7));
        assert_eq!(after(&mut commits, "b", 8), None);
        assert_eq!(after(&mut commits, "b", 9), None);
        // This sink was told to commit 9 before it had committed 8.
        assert_eq!(after(&mut commits, "a", 9), Some(9));
    }

    #[test]
    fn nothing_is_reported_twice_or_backwards() {
        let mut commits = TaskCommits::new([uid("a")]);
        assert_eq!(after(&mut commits, "a", 7), Some(7));
        assert_eq!(after(&mut commits, "a", 7), None);
        assert_eq!(after(&mut commits, "a", 3), None);
    }

    #[test]
    fn sinks_that_do_not_commit_hold_nothing_up_and_report_nothing() {
        let mut commits = TaskCommits::new([uid("a")]);
        assert_eq!(after(&mut commits, "prints", 7), None);
        assert_eq!(after(&mut commits, "a", 7), Some(7));
        let mut none = TaskCommits::new([]);
        assert_eq!(after(&mut none, "prints", 7), None);
    }
}
