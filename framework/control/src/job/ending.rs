use std::collections::{BTreeMap, BTreeSet};

use flott_core::{AttemptId, MonotonicTime, TaskManagerId};

/// Attempts that are over while tasks of theirs may still run.
#[derive(Debug, Default)]
pub(super) struct EndingAttempts {
    attempts: BTreeMap<AttemptId, Ending>,
}

#[derive(Debug)]
struct Ending {
    waiting: BTreeSet<TaskManagerId>,
    deadline: MonotonicTime,
}

impl EndingAttempts {
    /// The attempt is over. `waiting` have to report that nothing of it runs there any more, until `deadline`.
    pub(super) fn begin(
        &mut self,
        attempt: AttemptId,
        waiting: BTreeSet<TaskManagerId>,
        deadline: MonotonicTime,
    ) {
        self.attempts.insert(attempt, Ending { waiting, deadline });
    }

    pub(super) fn on_gone(&mut self, attempt: AttemptId, id: TaskManagerId) {
        if let Some(ending) = self.attempts.get_mut(&attempt) {
            ending.waiting.remove(&id);
        }
    }

    pub(super) fn on_lost(&mut self, id: TaskManagerId) {
        for ending in self.attempts.values_mut() {
            ending.waiting.remove(&id);
        }
    }

    /// Whether somebody still has to report.
    pub(super) fn is_waiting(&self) -> bool {
        self.attempts.values().any(|ending| !ending.waiting.is_empty())
    }

    /// Who has not reported in time.
    pub(super) fn overdue(&self, now: MonotonicTime) -> BTreeSet<TaskManagerId> {
        let late = self.attempts.values().filter(|ending| ending.deadline <= now);
        late.flat_map(|ending| ending.waiting.iter().copied()).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<MonotonicTime> {
        let waiting = self.attempts.values().filter(|ending| !ending.waiting.is_empty());
        waiting.map(|ending| ending.deadline).min()
    }

    /// The next attempt is deployed: how older ones ended does not matter any more, only that they do.
    pub(super) fn forget_ended(&mut self) {
        self.attempts.retain(|_, ending| !ending.waiting.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    const ATTEMPT: AttemptId = AttemptId(1);
    const A: TaskManagerId = TaskManagerId(1);
    const B: TaskManagerId = TaskManagerId(2);

    fn ending() -> EndingAttempts {
        let mut ending = EndingAttempts::default();
        ending.begin(ATTEMPT, [A, B].into(), at(10));
        ending
    }

    #[test]
    fn everybody_has_to_report() {
        let mut ending = ending();
        ending.on_gone(ATTEMPT, A);
        assert!(ending.is_waiting());
        assert_eq!(ending.overdue(at(10)), [B].into());
        ending.on_gone(ATTEMPT, B);
        assert!(!ending.is_waiting());
        assert_eq!(ending.next_deadline(), None);
    }

    #[test]
    fn nobody_waits_for_a_lost_task_manager() {
        let mut ending = ending();
        ending.on_gone(ATTEMPT, A);
        ending.on_lost(B);
        assert!(!ending.is_waiting());
    }

    #[test]
    fn what_others_report_of_an_unknown_attempt_changes_nothing() {
        let mut ending = ending();
        ending.on_gone(AttemptId(9), A);
        ending.forget_ended();
        assert!(ending.is_waiting());
        assert_eq!(ending.overdue(at(10)), [A, B].into());
    }
}
