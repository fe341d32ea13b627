//! Answers that count only when they are repeated for a while.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use flott_core::MonotonicTime;

/// One sort of answer to one call: a single broker may be behind the others, or a moment early.
#[derive(Debug)]
pub(super) struct Insistence {
    counts_after: Duration,
    since: Mutex<Option<MonotonicTime>>,
}

impl Insistence {
    pub(super) fn new(counts_after: Duration) -> Self {
        Self { counts_after, since: Mutex::default() }
    }

    /// A broker gave this answer. Whether it counts: brokers have given it for long enough, and no other one in between.
    pub(super) fn on_answer(&self, now: MonotonicTime) -> bool {
        now.since(*self.lock().get_or_insert(now)) >= self.counts_after
    }

    /// A broker gave another answer.
    pub(super) fn on_other(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<MonotonicTime>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_when_it_has_been_repeated_for_long_enough() {
        let insistence = Insistence::new(Duration::from_secs(5));
        let at = |millis| insistence.on_answer(MonotonicTime::from_millis(millis));
        assert_eq!([at(1_000), at(3_000), at(5_999), at(6_000)], [false, false, false, true]);
        insistence.on_other();
        assert_eq!([at(7_000), at(11_999), at(12_000)], [false, false, true]);
    }
}
