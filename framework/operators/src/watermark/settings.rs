//! What a user says about event time at a source.

use std::{fmt, sync::Arc, time::Duration};

use flott_core::{Batch, EventTime, Record};

use super::WatermarkGenerator;

/// How a source's event time goes forward.
///
/// Event times are those of the records ([`event_time`](Self::event_time), or else a field marked
/// `#[record(event_time)]`), or else those that the source gives, such as Kafka's. Watermarks are made per split, so
/// that only disorder within a split counts, and the source follows the split that is furthest behind.
///
/// ```
/// use std::time::Duration;
/// use flott_core::EventTime;
/// use flott_operators::watermark::Watermarks;
///
/// /// A reading of a sensor, and when it was taken.
/// type Reading = (f64, i64);
///
/// // Readings are out of order by up to five seconds. A sensor that is silent for a minute holds nobody back.
/// let watermarks = Watermarks::bounded(Duration::from_secs(5))
///     .idleness(Duration::from_secs(60))
///     .event_time(|reading: &Reading| EventTime(reading.1));
/// ```
pub struct Watermarks<T> {
    /// The disorder that is waited for; `None` for no watermarks.
    out_of_orderness: Option<Duration>,
    idleness: Option<Duration>,
    event_time: Option<Arc<dyn Fn(&T) -> EventTime + Send + Sync>>,
}

impl<T> Watermarks<T> {
    /// No watermarks until the input ends: event-time timers and windows wait for the end. Without a call of
    /// `.watermarks(…)` that is so as well, but then a job with such timers or windows is refused.
    #[must_use]
    pub fn none() -> Self {
        Self { out_of_orderness: None, idleness: None, event_time: None }
    }

    /// Within a split no record is older than one before it.
    #[must_use]
    pub fn monotonous() -> Self {
        Self::bounded(Duration::ZERO)
    }

    /// Within a split no record is older, by more than `out_of_orderness`, than one before it. Records that are come
    /// late.
    #[must_use]
    pub fn bounded(out_of_orderness: Duration) -> Self {
        Self { out_of_orderness: Some(out_of_orderness), ..Self::none() }
    }

    /// A split that has given no record for this long does not hold back the others until it gives one. Time in which
    /// the source could not emit, because the job was busy, does not count.
    #[must_use]
    pub fn idleness(mut self, timeout: Duration) -> Self {
        self.idleness = Some(timeout);
        self
    }

    /// Takes the event time of records from this function.
    #[must_use]
    pub fn event_time(mut self, of: impl Fn(&T) -> EventTime + Send + Sync + 'static) -> Self {
        self.event_time = Some(Arc::new(of));
        self
    }

    /// The disorder that is waited for; `None` when there are no watermarks before the input ends.
    #[must_use]
    pub fn out_of_orderness(&self) -> Option<Duration> {
        self.out_of_orderness
    }

    /// After so long without a record a split is idle.
    #[must_use]
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.idleness
    }

    /// Returns `true` if event times are looked at.
    pub(crate) fn are_made(&self) -> bool {
        self.out_of_orderness.is_some()
    }

    pub(super) fn generator(&self) -> WatermarkGenerator {
        WatermarkGenerator::new(self.out_of_orderness)
    }
}

impl<T: Record> Watermarks<T> {
    /// Gives the records of a batch their event times, where they have others than the source has given.
    pub(crate) fn assign(&self, batch: &mut Batch<T>) {
        let Batch { records, times } = batch;
        if let Some(event_time) = &self.event_time {
            times.clear();
            times.extend(records.iter().map(|record| event_time(record)));
        } else if records.iter().any(|record| record.event_time().is_some()) {
            // For a type without event time the compiler drops all of this.
            times.resize(records.len(), EventTime::MIN);
            for (record, time) in records.iter().zip(times) {
                *time = record.event_time().unwrap_or(*time);
            }
        }
    }
}

impl<T> Clone for Watermarks<T> {
    fn clone(&self) -> Self {
        let Self { out_of_orderness, idleness, event_time } = self;
        Self { out_of_orderness: *out_of_orderness, idleness: *idleness, event_time: event_time.clone() }
    }
}

impl<T> Default for Watermarks<T> {
    fn default() -> Self {
        Self::none()
    }
}

impl<T> fmt::Debug for Watermarks<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watermarks")
            .field("out_of_orderness", &self.out_of_orderness)
            .field("idleness", &self.idleness)
            .finish_non_exhaustive()
    }
}
