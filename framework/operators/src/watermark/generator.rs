//! The watermark of one split.

use std::time::Duration;

use flott_core::{EventTime, Watermark, time::millis};

/// Follows the event times of one split.
///
/// ```
/// use std::time::Duration;
/// use flott_core::{EventTime, Watermark};
/// use flott_operators::watermark::WatermarkGenerator;
///
/// let mut generator = WatermarkGenerator::new(Some(Duration::from_millis(100)));
/// assert_eq!(generator.watermark(), Watermark::MIN);
/// generator.observe(EventTime(1000));
/// generator.observe(EventTime(950));
/// // A record of 900 may follow, one of 899 may not.
/// assert_eq!(generator.watermark(), Watermark(EventTime(899)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatermarkGenerator {
    out_of_orderness_ms: Option<i64>,
    event_time_max: EventTime,
}

impl WatermarkGenerator {
    /// Records may be older by `out_of_orderness` than those before them; `None` for no watermarks at all.
    #[must_use]
    pub fn new(out_of_orderness: Option<Duration>) -> Self {
        Self { out_of_orderness_ms: out_of_orderness.map(millis), event_time_max: EventTime::MIN }
    }

    /// A record has been read, or some of which this is the latest.
    pub fn observe(&mut self, event_time: EventTime) {
        self.event_time_max = self.event_time_max.max(event_time);
    }

    /// How far event time has come.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        let EventTime(max) = self.event_time_max;
        let watermark = self.out_of_orderness_ms.map(|ms| max.saturating_sub(ms).saturating_sub(1));
        watermark.map_or(Watermark::MIN, |time| Watermark(EventTime(time)))
    }
}
