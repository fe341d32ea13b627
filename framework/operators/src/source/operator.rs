//! Drives a source's reader: what it reads becomes batches and watermarks.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use flott_core::{
    BATCH_RECORDS_MAX, Barrier, Batch, CheckpointId, EventTime, MonotonicTime, OperatorUid, ProcessingTime,
    Record, Result, Signal, Watermark,
    operator::{Downstream, Head, Next, OperatorMetrics, StepTime, TaskEvent},
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

/// A [`SourceReader`] with its watermarks, as the head of a chain.
///
/// A poll of the reader gives the chain what the reader reads, and is followed by at most one watermark or idle marker. When the
/// reader is done, [`Watermark::MAX`] and the end follow, once. Barriers still pass after that.
///
/// It counts the records that it emits as read and as emitted.
pub struct SourceOperator<T: Record> {
    uid: OperatorUid,
    reader: Box<dyn SourceReader<Out = T>>,
    emitter: Emitter<T>,
    polled: PolledTime,
    /// The signals that follow what has been read.
    pub(super) signals: VecDeque<Signal>,
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
        let (polled, signals) = (PolledTime::default(), VecDeque::new());
        Self { uid, reader, emitter, polled, signals, is_ended: false }
    }

    fn poll(&mut self, time: StepTime) -> Result<SourceStatus> {
        self.emitter.now = self.polled.advance(time);
        self.emitter.read_from.clear();
        let polled = self.reader.poll(time, &mut self.emitter);
        let status = polled.and_then(|status| self.emitter.pass_on().map(|()| status));
        let status = status.map_err(|error| error.at_position(|| self.position()))?;
        match status {
            SourceStatus::End => {
                self.is_ended = true;
                self.signals.extend([Signal::Watermark(Watermark::MAX), Signal::End]);
            }
            _ => {
                self.polled.is_stalled |= status == SourceStatus::Preparing;
                self.signals.extend(self.emitter.splits.advance(self.emitter.now));
            }
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
}

impl<T: Record> Head for SourceOperator<T> {
    fn open(&mut self) -> Result<()> {
        self.emitter.target.open()
    }

    fn is_source(&self) -> bool {
        true
    }

    /// An empty list says that there are no splits for it now, so that it does not hold back the watermark.
    fn add_splits(&mut self, splits: Vec<Split>) -> Result<()> {
        self.emitter.splits.add(splits.len(), self.emitter.now);
        self.reader.add_splits(splits)
    }

    fn no_more_splits(&mut self) -> Result<()> {
        self.reader.no_more_splits();
        Ok(())
    }

    /// While there is no room, no split becomes idle.
    fn is_ready(&mut self) -> bool {
        let is_ready = self.emitter.target.is_ready();
        self.polled.is_stalled |= !is_ready;
        is_ready
    }

    fn resume(&mut self) -> Result<bool> {
        self.emitter.target.resume()
    }

    fn read(&mut self, time: StepTime) -> Result<Next> {
        if self.signals.is_empty() && !self.is_ended {
            let status = self.poll(time)?;
            let has_read = status == SourceStatus::More || !self.emitter.read_from.is_empty();
            if has_read {
                return Ok(Next::Progress);
            }
        }
        Ok(self.signals.pop_front().map_or(Next::Nothing, Next::Signal))
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Signal::Watermark(Watermark(EventTime(time))) = signal {
            self.emitter.metrics.watermark.store(time, Ordering::Relaxed);
        }
        self.emitter.target.signal(signal)
    }

    /// Snapshots the splits as list state [`SPLITS_STATE`], then the operators behind it, and passes the barrier on.
    fn barrier(
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

    fn event(&mut self, event: TaskEvent, committed: &mut Vec<(OperatorUid, CheckpointId)>) -> Result<()> {
        if let TaskEvent::CheckpointComplete(checkpoint) = event {
            self.reader.on_checkpoint_complete(checkpoint)?;
        }
        self.emitter.target.event(event, committed)
    }

    fn flush(&mut self) -> Result<()> {
        self.emitter.target.flush()
    }

    /// The next poll is wanted as well, though there may be nothing to read: a split may be idle then.
    fn next_timer(&self) -> Option<ProcessingTime> {
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
