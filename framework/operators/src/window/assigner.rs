//! Which window a record belongs to.

use std::time::Duration;

use flott_core::{DecodeError, Error, ErrorKind, EventTime, Record, Result, Schema, Watermark, time::millis};
use serde::{Deserialize, Serialize};

/// An interval of event time: `start` inclusive, `end` exclusive. As JSON: `{"start":60000,"end":120000}`, in
/// milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Its first millisecond.
    pub start: EventTime,
    /// The millisecond after its last. A window that ends at [`EventTime::MAX`] is the last one and includes it.
    pub end: EventTime,
}

impl Window {
    /// Its last millisecond: the event time of its results.
    #[must_use]
    pub fn max_time(self) -> EventTime {
        if self.end == EventTime::MAX { self.end } else { EventTime(self.end.0 - 1) }
    }

    /// Whether a time lies in it.
    #[must_use]
    #[inline]
    pub fn contains(self, time: EventTime) -> bool {
        self.start <= time && time <= self.max_time()
    }

    /// Whether no record for it is expected any more, `lateness_ms` after its end.
    pub(super) fn is_over(self, lateness_ms: i64, watermark: Watermark) -> bool {
        self.max_time().0.saturating_add(lateness_ms) <= watermark.0.0
    }
}

impl Record for Window {
    const FIXED_SIZE: Option<usize> = <(EventTime, EventTime)>::FIXED_SIZE;
    fn schema() -> Schema {
        let bounds = ["start", "end"].map(|name| (name.to_owned(), EventTime::schema()));
        Schema::Struct("Window".into(), bounds.into())
    }
    fn encode(&self, out: &mut Vec<u8>) {
        self.start.encode(out);
        self.end.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { start: EventTime::decode(input)?, end: EventTime::decode(input)? })
    }
    fn duplicate(&self) -> Self {
        *self
    }
    fn encode_fixed(&self, out: &mut [u8]) {
        (self.start, self.end).encode_fixed(out);
    }
    fn decode_fixed(input: &[u8]) -> Result<Self, DecodeError> {
        let (start, end) = Record::decode_fixed(input)?;
        Ok(Self { start, end })
    }
}

/// Windows of equal size, one after the other without gap or overlap.
///
/// ```
/// use std::time::Duration;
/// use flott_core::EventTime;
/// use flott_operators::window::TumblingWindows;
///
/// let minutes = TumblingWindows::of(Duration::from_secs(60));
/// assert_eq!(minutes.window(EventTime(61_000)).start, EventTime(60_000));
///
/// // Days that begin at 22:00 UTC, kept for an hour after their end for those who come late.
/// let days = TumblingWindows::of(Duration::from_secs(24 * 3600))
///     .offset(Duration::from_secs(22 * 3600))
///     .allowed_lateness(Duration::from_secs(3600));
/// assert_eq!(days.window(EventTime(0)).end, EventTime(22 * 3_600_000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TumblingWindows {
    size_ms: i64,
    offset_ms: i64,
    lateness_ms: i64,
}

impl std::fmt::Display for TumblingWindows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tumbling windows of {:?}", Duration::from_millis(self.size_ms.unsigned_abs()))
    }
}

impl TumblingWindows {
    /// Windows of `size`, in whole milliseconds, aligned to the Unix epoch.
    #[must_use]
    pub fn of(size: Duration) -> Self {
        Self { size_ms: millis(size), offset_ms: 0, lateness_ms: 0 }
    }

    /// Windows that start this much later.
    #[must_use]
    pub fn offset(mut self, offset: Duration) -> Self {
        self.offset_ms = millis(offset);
        self
    }

    /// Keeps windows for this long after their end. A record that comes meanwhile makes its window give a new result
    /// at once.
    #[must_use]
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.lateness_ms = millis(lateness);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When windows are shorter than a millisecond, or not longer than their offset.
    pub fn check(&self) -> Result<()> {
        let Self { size_ms, offset_ms, .. } = *self;
        if size_ms < 1 {
            return Err(Error::new(
                ErrorKind::Settings,
                "the size of a tumbling window must be at least 1 ms",
            ));
        }
        if offset_ms >= size_ms {
            return Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "the offset of a tumbling window, {offset_ms} ms, must be less than its size, {size_ms} ms"
                ),
            ));
        }
        Ok(())
    }

    /// The window of a record at `time`. The first and the last window are cut off where event time ends.
    ///
    /// # Panics
    /// When the size is zero; see [`Self::check`].
    #[must_use]
    pub fn window(&self, time: EventTime) -> Window {
        // Nothing begins at the very end of event time: what lies there is part of the last window.
        let time = time.0.min(i64::MAX - 1);
        let mut since_start = time.rem_euclid(self.size_ms) - self.offset_ms;
        if since_start < 0 {
            since_start = since_start.rem_euclid(self.size_ms);
        }
        let until_end = self.size_ms - since_start;
        Window {
            start: EventTime(time.saturating_sub(since_start)),
            end: EventTime(time.saturating_add(until_end)),
        }
    }

    pub(super) fn size_ms(&self) -> i64 {
        self.size_ms
    }

    pub(super) fn offset_ms(&self) -> i64 {
        self.offset_ms
    }

    pub(super) fn lateness_ms(&self) -> i64 {
        self.lateness_ms
    }
}
