//! What flows: batches of records, and control elements in band.

use serde::{Deserialize, Serialize};

use crate::{
    id::CheckpointId,
    record::Record,
    time::{EventTime, Watermark},
};

/// Records a batch holds before it is passed on.
pub const BATCH_RECORDS_MAX: usize = 1024;

/// Some hundred records and their event times: the unit of flow.
#[derive(Debug)]
pub struct Batch<T> {
    /// The records.
    pub records: Vec<T>,
    /// Their event times: as many as records, or none at all when no record has one.
    pub times: Vec<EventTime>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { records: Vec::new(), times: Vec::new() }
    }
}

impl<T> Batch<T> {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of records.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether it should be passed on.
    #[must_use]
    #[inline]
    pub fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS_MAX
    }

    /// Adds a record with its event time; [`EventTime::MIN`] for none.
    #[inline]
    pub fn push(&mut self, record: T, time: EventTime) {
        if time != EventTime::MIN || !self.times.is_empty() {
            // Earlier records without a time get one, so that the two lists stay of equal length.
            if self.times.len() < self.records.len() {
                self.times.resize(self.records.len(), EventTime::MIN);
            }
            self.times.push(time);
        }
        self.records.push(record);
    }

    /// Event time of a record; [`EventTime::MIN`] for none.
    #[must_use]
    #[inline]
    pub fn time(&self, index: usize) -> EventTime {
        self.times.get(index).copied().unwrap_or(EventTime::MIN)
    }

    /// Removes all records, keeps the memory.
    pub fn clear(&mut self) {
        self.records.clear();
        self.times.clear();
    }

    /// Removes and yields all records with their event times; keeps the memory.
    pub fn drain(&mut self) -> impl Iterator<Item = (T, EventTime)> {
        let mut times = self.times.drain(..);
        self.records.drain(..).map(move |record| (record, times.next().unwrap_or(EventTime::MIN)))
    }

    /// Moves all records of `other` to the end of this batch.
    pub fn append(&mut self, other: &mut Self) {
        if !(self.times.is_empty() && other.times.is_empty()) {
            self.times.resize(self.records.len(), EventTime::MIN);
            other.times.resize(other.records.len(), EventTime::MIN);
            self.times.append(&mut other.times);
        }
        self.records.append(&mut other.records);
    }

    /// Moves the records of `other` from position `start` on to the end of this batch.
    ///
    /// # Panics
    /// When `other` has fewer than `start` records.
    pub fn append_from(&mut self, other: &mut Self, start: usize) {
        if !(self.times.is_empty() && other.times.is_empty()) {
            self.times.resize(self.records.len(), EventTime::MIN);
            other.times.resize(other.records.len(), EventTime::MIN);
            self.times.extend(other.times.drain(start..));
        }
        self.records.extend(other.records.drain(start..));
    }
}

impl<T: Record> Batch<T> {
    /// A copy.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self { records: self.records.iter().map(T::duplicate).collect(), times: self.times.clone() }
    }
}

/// The line between the records that belong to a checkpoint and those that do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barrier {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
}

/// A control element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    /// Event time has reached this point. It also makes an idle channel active again.
    Watermark(Watermark),
    /// Event time does not advance on this channel for a while: do not wait for its watermark. Only the next watermark
    /// ends that. Records do not: a task whose inputs are idle can still emit, from a processing-time timer for example,
    /// and then has no watermark to give.
    Idle,
    /// No more records will come. Barriers still do: an ended task stays until the job's last checkpoint.
    End,
}

/// One element of a channel.
#[derive(Debug)]
pub enum StreamElement<T> {
    /// Records.
    Batch(Batch<T>),
    /// A control element.
    Signal(Signal),
    /// A checkpoint barrier.
    Barrier(Barrier),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_filled_in_when_the_first_one_appears() {
        let mut batch = Batch::new();
        batch.push('a', EventTime::MIN);
        assert!(batch.times.is_empty());
        batch.push('b', EventTime(5));
        assert_eq!(batch.times, [EventTime::MIN, EventTime(5)]);
        let mut untimed = Batch::new();
        untimed.push('c', EventTime::MIN);
        untimed.append(&mut batch);
        assert_eq!(untimed.times, [EventTime::MIN, EventTime::MIN, EventTime(5)]);
        assert!(batch.is_empty());
        let mut part = Batch::new();
        part.append_from(&mut untimed, 2);
        part.append(&mut untimed);
        assert_eq!(
            (part.records, part.times),
            (vec!['b', 'c', 'a'], vec![EventTime(5), EventTime::MIN, EventTime::MIN])
        );
        let mut untimed =
            Batch { records: vec!['c', 'a', 'b'], times: vec![EventTime::MIN, EventTime::MIN, EventTime(5)] };
        let drained: Vec<_> = untimed.drain().collect();
        assert_eq!(drained[2], ('b', EventTime(5)));
        assert!(untimed.is_empty() && untimed.times.is_empty());
    }
}
