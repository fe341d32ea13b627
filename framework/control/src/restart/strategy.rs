use std::time::Duration;

use flott_core::MonotonicTime;

use super::RestartSettings;

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Try again at this time.
    At(MonotonicTime),
    /// Too many restarts in a row: the job fails.
    GiveUp,
}

/// Counts restarts in a row and delays each a little longer.
#[derive(Debug)]
pub struct RestartStrategy {
    settings: RestartSettings,
    restarts_in_a_row: u32,
    running_since: Option<MonotonicTime>,
}

impl RestartStrategy {
    /// No failure yet.
    #[must_use]
    pub fn new(settings: RestartSettings) -> Self {
        Self { settings, restarts_in_a_row: 0, running_since: None }
    }

    /// Every task of the job runs.
    pub fn on_running(&mut self, now: MonotonicTime) {
        self.running_since = Some(now);
    }

    /// Returns `true` if every task has been running for so long that earlier failures do not count any more.
    #[must_use]
    pub fn is_healthy(&self, now: MonotonicTime) -> bool {
        self.running_since.is_some_and(|since| now.since(since) >= self.settings.healthy_after)
    }

    /// The job failed. `random` decides the jitter.
    pub fn on_failure(&mut self, now: MonotonicTime, random: u64) -> Restart {
        if self.is_healthy(now) {
            self.restarts_in_a_row = 0;
        }
        self.running_since = None;
        if self.settings.attempts_max.is_some_and(|max| self.restarts_in_a_row >= max) {
            return Restart::GiveUp;
        }
        let delay = self.delay(random);
        self.restarts_in_a_row = self.restarts_in_a_row.saturating_add(1);
        Restart::At(now + delay)
    }

    /// Restarts since the job was last healthy.
    #[must_use]
    pub fn restarts_in_a_row(&self) -> u32 {
        self.restarts_in_a_row
    }

    fn delay(&self, random: u64) -> Duration {
        let Some(steps) = self.restarts_in_a_row.checked_sub(1) else {
            return Duration::ZERO;
        };
        let settings = &self.settings;
        let steps = i32::try_from(steps).unwrap_or(i32::MAX);
        let grown = settings.initial_delay.as_secs_f64() * settings.backoff_multiplier.max(1.0).powi(steps);
        let unit = (random >> 11) as f64 / (1_u64 << 53) as f64;
        let swing = 1.0 + settings.jitter.clamp(0.0, 1.0) * (2.0 * unit - 1.0);
        Duration::try_from_secs_f64(grown.min(settings.max_delay.as_secs_f64()) * swing)
            .unwrap_or(settings.max_delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Xorshift, at};

    fn without_jitter(attempts_max: Option<u32>) -> RestartStrategy {
        RestartStrategy::new(RestartSettings { jitter: 0.0, attempts_max, ..RestartSettings::default() })
    }

    #[test]
    fn the_first_restart_comes_at_once_and_later_ones_wait_longer() {
        let mut strategy = without_jitter(None);
        let delays: Vec<_> = (0..5).map(|_| strategy.on_failure(at(0), 0)).collect();
        let micros = [0, 500_000, 750_000, 1_125_000, 1_687_500].map(Duration::from_micros);
        assert_eq!(delays, micros.map(|delay| Restart::At(MonotonicTime::from_start(delay))));
    }

    #[test]
    fn delays_end_at_the_longest() {
        let mut strategy = without_jitter(None);
        let last = (0..3000).map(|_| strategy.on_failure(at(0), 0)).last();
        assert_eq!(last, Some(Restart::At(at(60_000))));
        assert_eq!(strategy.restarts_in_a_row(), 3000);
    }

    #[test]
    fn a_minute_of_health_starts_again() {
        let mut strategy = without_jitter(None);
        strategy.on_failure(at(0), 0);
        strategy.on_running(at(1000));
        assert_eq!(strategy.on_failure(at(60_999), 0), Restart::At(at(61_499)));
        strategy.on_running(at(70_000));
        assert_eq!(strategy.on_failure(at(130_000), 0), Restart::At(at(130_000)));
    }

    #[test]
    fn time_without_running_is_no_health() {
        let mut strategy = without_jitter(None);
        strategy.on_running(at(0));
        strategy.on_failure(at(10), 0);
        assert_eq!(strategy.on_failure(at(100_000), 0), Restart::At(at(100_500)));
    }

    #[test]
    fn it_gives_up_after_so_many_in_a_row() {
        let mut strategy = without_jitter(Some(2));
        assert_eq!(strategy.on_failure(at(0), 0), Restart::At(at(0)));
        assert_eq!(strategy.on_failure(at(0), 0), Restart::At(at(500)));
        assert_eq!(strategy.on_failure(at(0), 0), Restart::GiveUp);
        assert_eq!(without_jitter(Some(0)).on_failure(at(0), 0), Restart::GiveUp);
    }

    #[test]
    fn jitter_stays_in_its_bounds_and_follows_the_random_number() {
        let mut random = Xorshift::new(7);
        for _ in 0..1000 {
            let number = random.next();
            let delay = |number| {
                let mut strategy = RestartStrategy::new(RestartSettings::default());
                strategy.on_failure(at(0), number);
                strategy.on_failure(at(0), number)
            };
            let Restart::At(time) = delay(number) else { panic!("no limit is set") };
            assert!((at(450)..=at(550)).contains(&time), "{time:?}");
            assert_eq!(delay(number), Restart::At(time));
        }
    }
}
