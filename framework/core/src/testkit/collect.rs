//! The end of a chain that remembers what it was given.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::{
    element::{Barrier, Batch, Signal},
    error::{Error, Result},
    id::{CheckpointId, OperatorUid},
    operator::{Downstream, TaskEvent},
    record::Record,
    snapshot::OperatorSnapshot,
    time::{EventTime, ProcessingTime, Watermark},
};

/// What a [`Collector`] was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen<T> {
    /// A record and its event time in milliseconds; `i64::MIN` for none.
    Record(T, i64),
    /// A watermark, in milliseconds.
    Watermark(i64),
    /// An idle marker.
    Idle,
    /// The end.
    End,
    /// A barrier, by its checkpoint.
    Barrier(u64),
}

impl<T> From<Signal> for Seen<T> {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Watermark(Watermark(time)) => Self::Watermark(time.0),
            Signal::Idle => Self::Idle,
            Signal::End => Self::End,
        }
    }
}

/// A link that keeps what it is given. Its clones share what they have seen.
pub struct Collector<T> {
    seen: Arc<Mutex<Vec<Seen<T>>>>,
    is_stalled: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl<T> Clone for Collector<T> {
    fn clone(&self) -> Self {
        Self {
            seen: Arc::clone(&self.seen),
            is_stalled: Arc::clone(&self.is_stalled),
            asked: Arc::clone(&self.asked),
        }
    }
}

impl<T> Default for Collector<T> {
    fn default() -> Self {
        Self { seen: Arc::default(), is_stalled: Arc::default(), asked: Arc::default() }
    }
}

impl<T> Collector<T> {
    fn seen(&self) -> MutexGuard<'_, Vec<Seen<T>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes and returns what was seen since the last call.
    pub fn take(&self) -> Vec<Seen<T>> {
        std::mem::take(&mut self.seen())
    }

    /// The records among what was seen since the last call.
    pub fn take_records(&self) -> Vec<T> {
        let records = self.take().into_iter().filter_map(|seen| match seen {
            Seen::Record(record, _) => Some(record),
            _ => None,
        });
        records.collect()
    }

    /// Makes it say that it has no room, or that it has room again.
    pub fn stall(&self, is_stalled: bool) {
        self.is_stalled.store(is_stalled, Ordering::Relaxed);
    }

    /// How often it was asked whether it has room.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl<T: Record> Downstream<T> for Collector<T> {
    fn open(&mut self) -> Result<()> {
        Ok(())
    }

    fn batch(&mut self, batch: &mut Batch<T>) -> Result<()> {
        if !batch.times.is_empty() && batch.times.len() != batch.records.len() {
            return Err(Error::internal("a batch has some event times, but not one for each record"));
        }
        self.seen().extend(batch.drain().map(|(record, EventTime(time))| Seen::Record(record, time)));
        Ok(())
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.seen().push(signal.into());
        Ok(())
    }

    fn barrier(
        &mut self,
        barrier: Barrier,
        _snapshots: &mut Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<()> {
        self.seen().push(Seen::Barrier(barrier.checkpoint.0));
        Ok(())
    }

    fn event(&mut self, _event: TaskEvent, _committed: &mut Vec<(OperatorUid, CheckpointId)>) -> Result<()> {
        Ok(())
    }

    fn resume(&mut self) -> Result<bool> {
        Ok(true)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn is_ready(&mut self) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        !self.is_stalled.load(Ordering::Relaxed)
    }

    fn next_timer(&self) -> Option<ProcessingTime> {
        None
    }
}
