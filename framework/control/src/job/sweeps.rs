//! Looks for late zombies from time to time, and before the job ends for good.

use std::time::Duration;

use flott_core::{Generation, MonotonicTime};

use super::Action;

const INTERVAL: Duration = Duration::from_secs(30);

/// Tasks that nobody has seen end may go on for a while after a settlement. What they open then is swept, again and
/// again, for as long as the sinks say that it is worth it.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    /// When the next one is due.
    due: Option<MonotonicTime>,
    /// None is due after that.
    until: MonotonicTime,
    is_running: bool,
}

impl Sweeps {
    /// Everything is settled, which is as good as a sweep.
    pub(super) fn begin(&mut self, now: MonotonicTime, sweep_for: Duration) {
        self.until = now + sweep_for;
        self.plan_next(now);
    }

    /// None is due any more; one that runs goes on.
    pub(super) fn end(&mut self) {
        self.due = None;
    }

    /// Returns whether one is due now, and plans the next.
    pub(super) fn take_due(&mut self, now: MonotonicTime) -> bool {
        let is_due = self.next_deadline().is_some_and(|due| due <= now);
        if is_due {
            self.plan_next(now);
        }
        is_due
    }

    /// Removes the output that late zombies of generations before `below` have opened.
    pub(super) fn start<S>(&mut self, below: Generation, out: &mut Vec<Action<S>>) {
        self.is_running = true;
        out.push(Action::Sweep { below });
    }

    pub(super) fn on_swept(&mut self) {
        self.is_running = false;
    }

    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    pub(super) fn next_deadline(&self) -> Option<MonotonicTime> {
        self.due.filter(|_| !self.is_running)
    }

    fn plan_next(&mut self, now: MonotonicTime) {
        self.due = Some(now + INTERVAL).filter(|&due| due <= self.until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    #[test]
    fn sweeps_are_repeated_until_their_time_is_over() {
        let mut sweeps = Sweeps::default();
        sweeps.begin(at(1_000), Duration::from_secs(60));
        assert!(!sweeps.take_due(at(30_999)));
        assert!(sweeps.take_due(at(31_000)));
        assert!(!sweeps.take_due(at(31_000)));
        assert_eq!(sweeps.next_deadline(), Some(at(61_000)));
        assert!(sweeps.take_due(at(61_000)));
        assert_eq!(sweeps.next_deadline(), None);
    }

    #[test]
    fn there_is_only_one_at_a_time() {
        let mut sweeps = Sweeps::default();
        sweeps.begin(at(0), Duration::from_secs(600));
        assert!(sweeps.take_due(at(30_000)));
        let mut out = Vec::<Action<()>>::new();
        sweeps.start(Generation(2), &mut out);
        assert_eq!(out, [Action::Sweep { below: Generation(2) }]);
        assert_eq!(sweeps.next_deadline(), None);
        assert!(!sweeps.take_due(at(90_000)));
        sweeps.on_swept();
        assert!(sweeps.take_due(at(90_000)));
    }

    #[test]
    fn sinks_that_leave_nothing_are_not_swept() {
        let mut sweeps = Sweeps::default();
        sweeps.begin(at(0), Duration::ZERO);
        assert_eq!(sweeps.next_deadline(), None);
    }
}
