//! How long the job stands still although nothing disturbs it.

use std::time::Duration;

/// The longest time without new output while no fault was in force.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standstill {
    since: Duration,
    records: u64,
    longest: Duration,
}

impl Standstill {
    /// One of many looks: records of output so far, and whether a fault is in force. Returns how long the job has stood
    /// still by now.
    pub(crate) fn observe(&mut self, now: Duration, records: u64, is_disturbed: bool) -> Duration {
        let duration = now.saturating_sub(self.since);
        if is_disturbed || records != self.records {
            (self.since, self.records) = (now, records);
        }
        if is_disturbed {
            return Duration::ZERO;
        }
        self.longest = self.longest.max(duration);
        duration
    }

    /// The longest so far.
    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_undisturbed_time_without_new_output_counts() {
        let mut standstill = Standstill::default();
        let mut look = |seconds, records, is_disturbed| {
            standstill.observe(Duration::from_secs(seconds), records, is_disturbed).as_secs()
        };
        assert_eq!([look(1, 5, false), look(3, 6, false), look(4, 6, false)], [1, 2, 1]);
        assert_eq!([look(9, 6, true), look(11, 6, false), look(13, 7, false)], [0, 2, 4]);
        assert_eq!(look(14, 7, false), 1);
        assert_eq!(standstill.longest(), Duration::from_secs(4));
    }
}
