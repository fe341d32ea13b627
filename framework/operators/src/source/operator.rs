//! Drives a source's reader: what it reads becomes batches and watermarks.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use flott_core::{
    BATCH_RECORDS_MAX, Barrier, Batch, CheckpointId, EventTime, MonotonicTime, OperatorUid, ProcessingTime,
    Record, Result, Signal, Watermark,
    operator::{Downstream, OperatorMetrics, StepTime, TaskEvent},
    snapshot::{OperatorSnapshot, StateContent, StateSnapshot},
    source::{SPLITS_STATE, SourceOutput, SourceReader, SourceStatus, Split},
    state::StateDeclaration,
};

use crate::watermark::{SplitWatermarks, Watermarks};

/// A batch of at least this many records is passed on as it is. Smaller ones, of several splits, are put together.
const WHOLE_RECORDS_MIN: usize = BATCH_RECORDS_MAX / 2;

/// The most that a pause between two polls adds to the time after which a split counts as idle. A task that was held
/// up for longer has not looked for records meanwhile.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// A [`SourceReader`] with its watermarks, before a link: what a task drives in place of an input.
///
/// Each poll emits what the reader reads, then at most one watermark or idle marker. When the reader is done, it emits
/// [`Watermark::MAX`] and the end, once. Barriers still pass after that.
///
/// It counts the records that it emits as read and as emitted.
pub struct SourceOperator<T: Record> {
    uid: OperatorUid,
    reader: Box<dyn SourceReader<Out = T>>,
    emitter: Emitter<T>,
    polled: PolledTime,
    is_ended: bool,
}

impl<T: Record> SourceOperator<T> {
    /// Drives `reader`, into `target`.
    #[must_use]
    pub fn new(
        uid: OperatorUid,
        watermarks: Watermarks<T>,
        reader: Box<dyn SourceReader<Out = T>>,
        metrics: Arc<OperatorMetrics>,
        target: Box<dyn Downstream<T>>,
    ) -> Self {
        let splits = SplitWatermarks::new(&watermarks);
        let now = MonotonicTime::ZERO;
        let emitter = Emitter {
            watermarks,
            splits,
            pending: Batch::new(),
            target,
            metrics,
            now,
            read_from: Vec::new(),
        };
        Self { uid, reader, emitter, polled: PolledTime::default(), is_ended: false }
    }

    /// Opens the operators behind it. Called once, first.
    ///
    /// # Errors
    /// Fails the task.
    pub fn open(&mut self) -> Result<()> {
        self.emitter.target.open()
    }

    /// Gives the reader more splits. An empty list says that there are none for it now, so that it does not hold back
    /// the watermark.
    ///
    /// # Errors
    /// Fails the task.
    pub fn add_splits(&mut self, splits: Vec<Split>) -> Result<()> {
        self.emitter.splits.add(splits.len(), self.emitter.now);
        self.reader.add_splits(splits)
    }

    /// Says that no more splits will be added.
    pub fn no_more_splits(&mut self) {
        self.reader.no_more_splits();
    }

    /// Reads and emits some. To be called only when [`Self::is_ready`].
    ///
    /// # Errors
    /// Fails the task.
    pub fn poll(&mut self, time: StepTime) -> Result<SourceStatus> {
        if self.is_ended {
            return Ok(SourceStatus::End);
        }
        if !self.emitter.target.resume()? {
            return Ok(SourceStatus::More);
        }
        self.emitter.now = self.polled.advance(time);
        self.emitter.read_from.clear();
        let polled = self.reader.poll(time, &mut self.emitter);
        let status = polled.and_then(|status| self.emitter.pass_on().map(|()| status));
        let status = match status.map_err(|error| error.at_position(|| self.position()))? {
            SourceStatus::Preparing => {
                self.polled.is_stalled = true;
                SourceStatus::Idle
            }
            status => status,
        };
        if status == SourceStatus::End {
            self.is_ended = true;
            self.emitter.signal(Signal::Watermark(Watermark::MAX))?;
            self.emitter.signal(Signal::End)?;
        } else if let Some(signal) = self.emitter.splits.advance(self.emitter.now) {
            self.emitter.signal(signal)?;
        }
        Ok(status)
    }

    /// The position of the records of the last poll.
    fn position(&self) -> Option<String> {
        let mut splits = self.emitter.read_from.clone();
        splits.dedup();
        let positions: Vec<_> = splits.into_iter().filter_map(|split| self.reader.position(split)).collect();
        (!positions.is_empty()).then(|| format!("source {:?}, {}", self.uid.as_str(), positions.join(", ")))
    }

    /// Snapshots the splits as list state [`SPLITS_STATE`], then the operators behind it, and passes the barrier on.
    ///
    /// # Errors
    /// Fails the task.
    pub fn barrier(
        &mut self,
        barrier: Barrier,
        snapshots: &mut Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<()> {
        let splits = self.reader.snapshot(barrier.checkpoint)?;
        let items = splits.iter().map(Split::encode).collect();
        let state = StateSnapshot {
            declaration: StateDeclaration::operator_list::<Vec<u8>>(SPLITS_STATE),
            content: StateContent::List(Box::new(|| Ok(items))),
        };
        let counters = self.emitter.metrics.counters();
        snapshots.push((self.uid.clone(), OperatorSnapshot { states: vec![state], counters }));
        self.emitter.target.barrier(barrier, snapshots)
    }

    /// Takes an event and passes it on, see [`Downstream::event`].
    ///
    /// # Errors
    /// Fails the task.
    pub fn event(
        &mut self,
        event: TaskEvent,
        committed: &mut Vec<(OperatorUid, CheckpointId)>,
    ) -> Result<()> {
        if let TaskEvent::CheckpointComplete(checkpoint) = event {
            self.reader.on_checkpoint_complete(checkpoint)?;
        }
        self.emitter.target.event(event, committed)
    }

    /// Sends partly filled batches on their way: there is nothing more to do for now.
    ///
    /// # Errors
    /// Fails the task.
    pub fn flush(&mut self) -> Result<()> {
        self.emitter.target.flush()
    }

    /// Whether there is room for what a poll may emit. While there is not, no split becomes idle.
    pub fn is_ready(&mut self) -> bool {
        let is_ready = self.emitter.target.is_ready();
        self.polled.is_stalled |= !is_ready;
        is_ready
    }

    /// When the next tick is wanted, or the next poll, though there may be nothing to read: a split may be idle then.
    #[must_use]
    pub fn next_timer(&self) -> Option<ProcessingTime> {
        let next_idle = self.emitter.splits.next_idle().filter(|_| !self.is_ended);
        let idle = next_idle.map(|idle| self.polled.wall + idle.since(self.emitter.now).min(PAUSE_MAX));
        self.emitter.target.next_timer().into_iter().chain(idle).min()
    }
}

/// Time during which the reader could have read.
#[derive(Default)]
struct PolledTime {
    total: Duration,
    last_poll: Option<MonotonicTime>,
    wall: ProcessingTime,
    is_stalled: bool,
}

impl PolledTime {
    fn advance(&mut self, time: StepTime) -> MonotonicTime {
        if let Some(last_poll) = self.last_poll.replace(time.now)
            && !self.is_stalled
        {
            self.total += time.now.since(last_poll).min(PAUSE_MAX);
        }
        self.is_stalled = false;
        self.wall = time.processing_time;
        MonotonicTime::from_start(self.total)
    }
}

/// Takes what the reader reads: gives it event times, notes them, and emits it in batches of good size.
struct Emitter<T: Record> {
    watermarks: Watermarks<T>,
    splits: SplitWatermarks,
    pending: Batch<T>,
    target: Box<dyn Downstream<T>>,
    metrics: Arc<OperatorMetrics>,
    now: MonotonicTime,
    /// The splits that the last poll has read.
    read_from: Vec<usize>,
}

impl<T: Record> Emitter<T> {
    fn pass_on(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let result = self.target.batch(&mut self.pending);
        self.pending.clear();
        result
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Signal::Watermark(Watermark(EventTime(time))) = signal {
            self.metrics.watermark.store(time, Ordering::Relaxed);
        }
        self.target.signal(signal)
    }
}

impl<T: Record> SourceOutput<T> for Emitter<T> {
    fn batch(&mut self, split: usize, batch: &mut Batch<T>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.read_from.push(split);
        self.watermarks.assign(batch);
        let latest = if self.watermarks.are_made() { batch.times.iter().max() } else { None };
        self.splits.observe(split, latest.copied().unwrap_or(EventTime::MIN), self.now)?;
        let count = batch.len() as u64;
        self.metrics.records_in.fetch_add(count, Ordering::Relaxed);
        self.metrics.records_out.fetch_add(count, Ordering::Relaxed);
        if self.pending.len() + batch.len() > BATCH_RECORDS_MAX {
            self.pass_on()?;
        }
        if self.pending.is_empty() && batch.len() >= WHOLE_RECORDS_MIN {
            let result = self.target.batch(batch);
            batch.clear();
            return result;
        }
        self.pending.append(batch);
        Ok(())
    }

    fn split_ended(&mut self, split: usize) -> Result<()> {
        self.splits.end(split)
    }
}
