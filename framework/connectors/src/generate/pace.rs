//! How many records a rate limit allows by now.

use flott_core::MonotonicTime;

/// After a stall, at most so much is caught up with.
const BURST_SECONDS_MAX: f64 = 0.1;

/// A token bucket that is filled by the time that steps tell.
#[derive(Debug)]
pub(super) struct Pace {
    records_per_second_and_split: f64,
    filled_at: Option<MonotonicTime>,
    tokens: f64,
}

impl Pace {
    pub(super) fn new(records_per_second_and_split: f64) -> Self {
        Self { records_per_second_and_split, filled_at: None, tokens: 0.0 }
    }

    /// How many records `splits` splits may emit at `now`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "tokens are few and not negative"
    )]
    pub(super) fn allowed(&mut self, now: MonotonicTime, splits: usize) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "splits are few")]
        let rate = self.records_per_second_and_split * splits as f64;
        let since = self.filled_at.map_or(0.0, |filled_at| now.since(filled_at).as_secs_f64());
        self.filled_at = Some(now);
        self.tokens = (self.tokens + since * rate).min((rate * BURST_SECONDS_MAX).max(1.0));
        self.tokens as u64
    }

    /// So many were emitted.
    pub(super) fn spend(&mut self, records: u64) {
        #[expect(clippy::cast_precision_loss, reason = "at most a batch")]
        let records = records as f64;
        self.tokens -= records;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_steps_yields_the_rate() {
        let mut pace = Pace::new(1000.0);
        let mut emitted = 0;
        for step in 0..=1000 {
            let allowed = pace.allowed(MonotonicTime::from_millis(step), 2);
            pace.spend(allowed);
            emitted += allowed;
        }
        assert!((1998..=2000).contains(&emitted), "{emitted}");
    }

    #[test]
    fn a_stall_is_not_made_up_for() {
        let mut pace = Pace::new(1000.0);
        assert_eq!(pace.allowed(MonotonicTime::ZERO, 1), 0);
        assert_eq!(pace.allowed(MonotonicTime::from_millis(60_000), 1), 100);
    }
}
