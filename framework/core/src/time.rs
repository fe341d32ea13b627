//! Event time, watermarks, and the one place that reads a clock.

use std::{fmt, sync::OnceLock, time::Duration};

use serde::{Deserialize, Serialize};

/// A point in event time: milliseconds since the Unix epoch, as in Flink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before every record; also the time of a record that has none.
    pub const MIN: Self = Self(i64::MIN);
    /// After every record.
    pub const MAX: Self = Self(i64::MAX);

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Start of the tumbling interval of `size_ms` that holds this time, aligned to the epoch.
    #[must_use]
    pub const fn floor(self, size_ms: i64) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(size_ms)))
    }
}

impl std::ops::Add<Duration> for EventTime {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

impl std::ops::Sub<Duration> for EventTime {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A duration in whole milliseconds, saturating.
#[must_use]
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A promise that no record with an event time at or below it follows (late records excepted).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Watermark(pub EventTime);

impl Watermark {
    /// Nothing is promised yet.
    pub const MIN: Self = Self(EventTime::MIN);
    /// The input has ended: every event-time timer and window fires.
    pub const MAX: Self = Self(EventTime::MAX);
}

/// A point on a clock that never goes back: time since an arbitrary start. Deciders get it as an argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonotonicTime(Duration);

impl MonotonicTime {
    /// The clock's start.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// A point `since_start` after the clock's start.
    #[must_use]
    pub const fn from_start(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// A point `millis` milliseconds after the clock's start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Time since the clock's start.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// Time from `earlier` to this point, zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Sub<Duration> for MonotonicTime {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}

impl std::ops::Add<Duration> for MonotonicTime {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// Processing time: wall-clock milliseconds since the Unix epoch. It may jump; nothing safety-relevant uses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessingTime(pub i64);

impl std::ops::Add<Duration> for ProcessingTime {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

/// Where drivers get the time from. Deciders never see it: they get values.
pub trait Clock: Send + Sync {
    /// Time on the monotonic clock.
    fn now(&self) -> MonotonicTime;
    /// Wall-clock time.
    fn processing_time(&self) -> ProcessingTime;
}

/// One reading of both clocks, for a time that must not be taken for shorter than it was.
///
/// The monotonic clock stands still while a machine is suspended; the wall clock may be set back. So of the two the one
/// counts that has gone further. Two readings of one clock are compared: it does not matter whether it agrees with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// Time on the monotonic clock.
    pub monotonic: MonotonicTime,
    /// Wall-clock time.
    pub wall: ProcessingTime,
}

impl ClockReading {
    /// Reads both clocks.
    #[must_use]
    pub fn now(clock: &dyn Clock) -> Self {
        Self { monotonic: clock.now(), wall: clock.processing_time() }
    }

    /// Time from this reading to the `later` one.
    #[must_use]
    pub fn age(self, later: Self) -> Duration {
        let by_wall = u64::try_from(later.wall.0.saturating_sub(self.wall.0)).unwrap_or(0);
        later.monotonic.since(self.monotonic).max(Duration::from_millis(by_wall))
    }

    /// The part of the time to the `later` reading that the monotonic clock has missed.
    #[must_use]
    pub fn missed(self, later: Self) -> Duration {
        self.age(later) - later.monotonic.since(self.monotonic)
    }
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the one place that reads the clock")]
impl Clock for SystemClock {
    fn now(&self) -> MonotonicTime {
        static START: OnceLock<std::time::Instant> = OnceLock::new();
        MonotonicTime(START.get_or_init(std::time::Instant::now).elapsed())
    }

    fn processing_time(&self) -> ProcessingTime {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        ProcessingTime(since_epoch.map_or(0, millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_aligns_to_the_epoch_on_both_sides() {
        assert_eq!(EventTime(61_999).floor(60_000), EventTime(60_000));
        assert_eq!(EventTime(60_000).floor(60_000), EventTime(60_000));
        assert_eq!(EventTime(-1).floor(60_000), EventTime(-60_000));
    }

    #[test]
    fn the_clock_that_has_gone_further_counts() {
        let at = |monotonic, wall| ClockReading {
            monotonic: MonotonicTime::from_millis(monotonic),
            wall: ProcessingTime(wall),
        };
        let first = at(5_000, 1_000_000);
        for (later, age, missed) in [
            (at(8_000, 1_003_000), 3_000, 0),
            (at(8_000, 400_000), 3_000, 0),
            (at(8_000, 1_060_000), 60_000, 57_000),
            (at(5_000, 1_000_000), 0, 0),
        ] {
            assert_eq!(first.age(later), Duration::from_millis(age), "{later:?}");
            assert_eq!(first.missed(later), Duration::from_millis(missed), "{later:?}");
        }
    }
}
