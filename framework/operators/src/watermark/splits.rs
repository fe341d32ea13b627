//! The watermark of a reader: the least over its splits.

use std::time::Duration;

use flott_core::{Error, EventTime, MonotonicTime, Result, Signal, Watermark};

use super::{WatermarkGenerator, Watermarks};

/// Combines the watermarks of a reader's splits. Splits that have ended or are idle do not count. When no other split is
/// left, event time stays where it is, as in Flink: what is still unread in the splits that were behind must not be late.
///
/// `now` is time during which records could have come: a driver that was kept from reading leaves that time out, so
/// that no split is taken for idle because the job was busy.
#[derive(Debug)]
pub struct SplitWatermarks {
    generator: WatermarkGenerator,
    idle_timeout: Option<Duration>,
    splits: Vec<SplitProgress>,
    watermark: Watermark,
    /// Whether it is known which splits there are: before, having none does not mean to be idle.
    is_assigned: bool,
    is_idle: bool,
}

#[derive(Debug)]
struct SplitProgress {
    generator: WatermarkGenerator,
    last_record: MonotonicTime,
    is_idle: bool,
    is_ended: bool,
}

impl SplitProgress {
    fn is_active(&self) -> bool {
        !self.is_idle && !self.is_ended
    }
}

impl SplitWatermarks {
    /// No splits yet.
    #[must_use]
    pub fn new<T>(settings: &Watermarks<T>) -> Self {
        Self {
            generator: settings.generator(),
            idle_timeout: settings.idle_timeout(),
            splits: Vec::new(),
            watermark: Watermark::MIN,
            is_assigned: false,
            is_idle: false,
        }
    }

    /// The reader has `count` more splits, numbered on. Zero says that there are none for now.
    pub fn add(&mut self, count: usize, now: MonotonicTime) {
        self.is_assigned = true;
        self.splits.extend((0..count).map(|_| SplitProgress {
            generator: self.generator.clone(),
            last_record: now,
            is_idle: false,
            is_ended: false,
        }));
    }

    /// Records have come, the latest of `event_time_max`. The split and the reader are active again.
    ///
    /// # Errors
    /// When there is no such split: a bug in the reader.
    pub fn observe(&mut self, split: usize, event_time_max: EventTime, now: MonotonicTime) -> Result<()> {
        let split = self.split(split)?;
        split.generator.observe(event_time_max);
        split.last_record = now;
        split.is_idle = false;
        Ok(())
    }

    /// A split has been read to its end.
    ///
    /// # Errors
    /// When there is no such split: a bug in the reader.
    pub fn end(&mut self, split: usize) -> Result<()> {
        self.split(split)?.is_ended = true;
        Ok(())
    }

    /// What has changed: a higher watermark, or that no split is active any more, or that one is again; that is said by
    /// the watermark so far.
    pub fn advance(&mut self, now: MonotonicTime) -> Option<Signal> {
        if let Some(timeout) = self.idle_timeout {
            for split in &mut self.splits {
                split.is_idle |= now.since(split.last_record) >= timeout;
            }
        }
        let active = self.splits.iter().filter(|split| split.is_active());
        match active.map(|split| split.generator.watermark()).min() {
            Some(least) if least > self.watermark || self.is_idle => {
                Some(self.emit(least.max(self.watermark)))
            }
            Some(_) => None,
            None if !self.is_assigned || self.is_idle => None,
            None => {
                self.is_idle = true;
                Some(Signal::Idle)
            }
        }
    }

    fn emit(&mut self, watermark: Watermark) -> Signal {
        self.watermark = watermark;
        self.is_idle = false;
        Signal::Watermark(watermark)
    }

    /// When a split becomes idle if no record comes.
    #[must_use]
    pub fn next_idle(&self) -> Option<MonotonicTime> {
        let timeout = self.idle_timeout?;
        let active = self.splits.iter().filter(|split| split.is_active());
        active.map(|split| split.last_record + timeout).min()
    }

    fn split(&mut self, split: usize) -> Result<&mut SplitProgress> {
        let missing =
            || Error::internal(format!("a reader gave records of split {split}, which it was not given"));
        self.splits.get_mut(split).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: MonotonicTime = MonotonicTime::ZERO;

    fn bounded(splits: usize) -> SplitWatermarks {
        let settings = Watermarks::<()>::bounded(Duration::from_millis(10)).idleness(Duration::from_secs(1));
        let mut watermarks = SplitWatermarks::new(&settings);
        watermarks.add(splits, START);
        watermarks
    }

    fn observe(watermarks: &mut SplitWatermarks, split: usize, time: i64, now_ms: u64) -> Option<Signal> {
        let now = MonotonicTime::from_millis(now_ms);
        watermarks.observe(split, EventTime(time), now).unwrap();
        watermarks.advance(now)
    }

    fn at(watermarks: &mut SplitWatermarks, now_ms: u64) -> Option<Signal> {
        watermarks.advance(MonotonicTime::from_millis(now_ms))
    }

    fn watermark(time: i64) -> Option<Signal> {
        Some(Signal::Watermark(Watermark(EventTime(time))))
    }

    #[test]
    fn the_slowest_split_counts_and_nothing_goes_back() {
        let mut watermarks = bounded(2);
        assert_eq!(observe(&mut watermarks, 0, 100, 1), None);
        assert_eq!(observe(&mut watermarks, 1, 50, 2), watermark(39));
        assert_eq!(observe(&mut watermarks, 1, 45, 3), None);
        assert_eq!(observe(&mut watermarks, 1, 500, 4), watermark(89));
        // A split that comes later starts behind, and is waited for.
        watermarks.add(1, START);
        assert_eq!(observe(&mut watermarks, 0, 900, 5), None);
        assert_eq!(observe(&mut watermarks, 2, 20, 6), None);
        assert_eq!(observe(&mut watermarks, 2, 101, 7), watermark(90));
    }

    #[test]
    fn ended_splits_do_not_hold_back_the_others() {
        let mut watermarks = bounded(2);
        observe(&mut watermarks, 0, 100, 1);
        watermarks.end(1).unwrap();
        assert_eq!(at(&mut watermarks, 2), watermark(89));
        watermarks.end(0).unwrap();
        assert_eq!(at(&mut watermarks, 3), Some(Signal::Idle));
        assert_eq!(at(&mut watermarks, 4), None);
        assert!(watermarks.observe(2, EventTime(1), START).is_err());
    }

    #[test]
    fn idle_splits_do_not_hold_back_the_others_until_they_speak() {
        let mut watermarks = bounded(2);
        assert_eq!(watermarks.next_idle(), Some(MonotonicTime::from_millis(1000)));
        assert_eq!(observe(&mut watermarks, 0, 100, 500), None);
        assert_eq!(at(&mut watermarks, 999), None);
        assert_eq!(at(&mut watermarks, 1000), watermark(89));
        assert_eq!(watermarks.next_idle(), Some(MonotonicTime::from_millis(1500)));
        assert_eq!(at(&mut watermarks, 1500), Some(Signal::Idle));
        assert_eq!(watermarks.next_idle(), None);
        assert_eq!(at(&mut watermarks, 1600), None);
        // Active again, but behind: said by the watermark so far. Idle again: said again.
        assert_eq!(observe(&mut watermarks, 1, 60, 1700), watermark(89));
        assert_eq!(at(&mut watermarks, 1700), None);
        assert_eq!(observe(&mut watermarks, 1, 160, 1800), watermark(149));
        assert_eq!(at(&mut watermarks, 2800), Some(Signal::Idle));
    }

    #[test]
    fn event_time_stays_when_all_splits_become_idle_or_end_at_once() {
        let mut watermarks = bounded(2);
        assert_eq!(observe(&mut watermarks, 0, 100, 1), None);
        assert_eq!(observe(&mut watermarks, 1, 50, 2), watermark(39));
        assert_eq!(at(&mut watermarks, 1002), Some(Signal::Idle));
        assert_eq!(at(&mut watermarks, 1003), None);
        // The split that was behind goes on where it was, and is not late.
        assert_eq!(observe(&mut watermarks, 1, 60, 1004), watermark(49));
        watermarks.end(0).unwrap();
        watermarks.end(1).unwrap();
        assert_eq!(at(&mut watermarks, 1005), Some(Signal::Idle));
    }

    #[test]
    fn a_reader_without_splits_is_idle_once_that_is_known() {
        let mut watermarks = SplitWatermarks::new(&Watermarks::<()>::monotonous());
        assert_eq!(at(&mut watermarks, 5), None);
        watermarks.add(0, START);
        assert_eq!(at(&mut watermarks, 6), Some(Signal::Idle));
        watermarks.add(1, START);
        assert_eq!(observe(&mut watermarks, 0, 7, 8), watermark(6));
    }

    #[test]
    fn without_watermarks_there_are_none() {
        let mut watermarks = SplitWatermarks::new(&Watermarks::<()>::none());
        watermarks.add(1, START);
        assert_eq!(observe(&mut watermarks, 0, 7, 8), None);
    }
}
