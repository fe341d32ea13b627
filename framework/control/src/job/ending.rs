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
    is_unconfirmable: bool,
    deadline: MonotonicTime,
}

impl EndingAttempts {
    /// The attempt is over. `waiting` have to report that nothing of it runs there any more, until `deadline`;
    /// `is_unconfirmable` when a TaskManager was lost with it.
    pub(super) fn begin(
        &mut self,
        attempt: AttemptId,
        waiting: BTreeSet<TaskManagerId>,
        is_unconfirmable: bool,
        deadline: MonotonicTime,
    ) {
        self.attempts.insert(attempt, Ending { waiting, is_unconfirmable, deadline });
    }

    pub(super) fn on_gone(&mut self, attempt: AttemptId, id: TaskManagerId) {
        if let Some(ending) = self.attempts.get_mut(&attempt) {
            ending.waiting.remove(&id);
        }
    }

    pub(super) fn on_lost(&mut self, id: TaskManagerId) {
        for ending in self.attempts.values_mut() {
            ending.is_unconfirmable |= ending.waiting.remove(&id);
        }
    }

    /// Whether every task of the attempt positively reported its end.
    pub(super) fn is_confirmed(&self, attempt: AttemptId) -> bool {
        self.attempts
            .get(&attempt)
            .is_some_and(|ending| ending.waiting.is_empty() && !ending.is_unconfirmable)
    }

    /// Whether no report can confirm the end of the attempt any more.
    pub(super) fn is_unconfirmable(&self, attempt: AttemptId) -> bool {
        self.attempts.get(&attempt).is_none_or(|ending| ending.is_unconfirmable)
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
        ending.begin(ATTEMPT, [A, B].into(), false, at(10));
        ending
    }

    #[test]
    fn everybody_has_to_report() {
        let mut ending = ending();
        ending.on_gone(ATTEMPT, A);
        assert!(!ending.is_confirmed(ATTEMPT) && ending.is_waiting());
        assert_eq!(ending.overdue(at(10)), [B].into());
        ending.on_gone(ATTEMPT, B);
        assert!(ending.is_confirmed(ATTEMPT) && !ending.is_waiting());
        assert_eq!(ending.next_deadline(), None);
    }

    #[test]
    fn a_lost_task_manager_confirms_nothing() {
        let mut ending = ending();
        ending.on_gone(ATTEMPT, A);
        ending.on_lost(A);
        assert!(!ending.is_unconfirmable(ATTEMPT));
        ending.on_lost(B);
        assert!(ending.is_unconfirmable(ATTEMPT) && !ending.is_confirmed(ATTEMPT));
        assert!(!ending.is_waiting());
    }

    #[test]
    fn an_unknown_attempt_is_not_confirmed() {
        let mut ending = ending();
        assert!(!ending.is_confirmed(AttemptId(9)) && ending.is_unconfirmable(AttemptId(9)));
        ending.on_gone(AttemptId(9), A);
        ending.forget_ended();
        assert!(ending.is_waiting());
    }
}
