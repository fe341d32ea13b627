//! The operator contract and the typed links between the operators of a chain.

mod chain;
mod head;
mod readiness;

use std::{
    any::Any,
    ops::AddAssign,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use crate::{
    element::{Barrier, Batch, Signal},
    error::{Error, Result},
    id::{AttemptId, CheckpointId, Generation, JobIdentity, OperatorUid, SubtaskIndex},
    key_group::{KeyGroupRange, KeySpace, MaxParallelism},
    record::Record,
    snapshot::{OperatorSnapshot, RestoredOperator},
    time::{EventTime, MonotonicTime, ProcessingTime, Watermark},
};

pub use chain::{ChainLink, Discard};
pub use head::{Head, Next};
pub use readiness::Readiness;

/// What an operator learns when its subtask starts.
pub struct OperatorContext {
    /// The operator's name.
    pub uid: OperatorUid,
    /// The job it belongs to.
    pub job: Arc<JobIdentity>,
    /// Which copy this is.
    pub subtask: SubtaskIndex,
    /// Of how many.
    pub parallelism: u32,
    /// Number of key groups of the job.
    pub max_parallelism: MaxParallelism,
    /// The try of the job.
    pub attempt: AttemptId,
    /// Scope of transactional ids.
    pub generation: Generation,
    /// The checkpoint it is restored from.
    pub restored_checkpoint: Option<CheckpointId>,
    /// What that checkpoint has for this operator and subtask.
    pub restored: RestoredOperator,
    /// Its counters.
    pub metrics: Arc<OperatorMetrics>,
}

impl OperatorContext {
    /// The key groups that this subtask owns.
    #[must_use]
    pub fn key_groups(&self) -> KeyGroupRange {
        self.max_parallelism.key_groups(self.subtask, self.parallelism)
    }

    /// The keys of this subtask.
    #[must_use]
    pub fn keys(&self) -> KeySpace {
        KeySpace { groups: self.key_groups(), max_parallelism: self.max_parallelism }
    }
}

/// What is counted per operator and subtask; updated once per batch.
#[derive(Debug)]
pub struct OperatorMetrics {
    /// Records received; for a source, records read.
    pub records_in: AtomicU64,
    /// Records emitted.
    pub records_out: AtomicU64,
    /// Records dropped by policy: undecodable, or too late for their window.
    pub records_dropped: AtomicU64,
    /// The last watermark, in milliseconds.
    pub watermark: AtomicI64,
}

/// Records that an operator has counted up to some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Received; for a source, read.
    pub records_in: u64,
    /// Emitted.
    pub records_out: u64,
    /// Dropped by policy.
    pub records_dropped: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.records_in += other.records_in;
        self.records_out += other.records_out;
        self.records_dropped += other.records_dropped;
    }
}

impl OperatorMetrics {
    /// The counters as they are now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            records_in: self.records_in.load(Ordering::Relaxed),
            records_out: self.records_out.load(Ordering::Relaxed),
            records_dropped: self.records_dropped.load(Ordering::Relaxed),
        }
    }
}

impl Default for OperatorMetrics {
    fn default() -> Self {
        Self {
            records_in: AtomicU64::new(0),
            records_out: AtomicU64::new(0),
            records_dropped: AtomicU64::new(0),
            watermark: AtomicI64::new(i64::MIN),
        }
    }
}

/// The time, as the task loop read it last: once per step, not per record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTime {
    /// Monotonic.
    pub now: MonotonicTime,
    /// Wall clock.
    pub processing_time: ProcessingTime,
}

/// What happens to a task besides its input. Passed down the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskEvent {
    /// Time has passed. Operators fire their processing-time timers and look after background work.
    Tick(StepTime),
    /// A checkpoint is complete: its output may be committed.
    CheckpointComplete(CheckpointId),
}

/// Logic between an input and an output. Runs on one thread, never blocks.
pub trait Operator: Send {
    /// Type of its input records.
    type In: Record;
    /// Type of its output records.
    type Out: Record;

    /// Prepares for records: binds state and takes what is restored of it. Called once, first. What it leaves of
    /// [`OperatorContext::restored`] is an error.
    ///
    /// # Errors
    /// Fails the task.
    fn open(&mut self, _context: &mut OperatorContext) -> Result<()> {
        Ok(())
    }

    /// Processes a batch; may leave it in any state, the caller clears it.
    ///
    /// # Errors
    /// Fails the task.
    fn process(&mut self, batch: &mut Batch<Self::In>, out: &mut Output<Self::Out>) -> Result<()>;

    /// Event time has advanced to `watermark`. What is due is fired by [`Self::fire`], and then the watermark is passed on.
    ///
    /// # Errors
    /// Fails the task.
    fn on_watermark(&mut self, _watermark: Watermark) -> Result<()> {
        Ok(())
    }

    /// Fires a bounded part of what a watermark or a tick has made due; whether that was all. Called while there is room
    /// for output, until it was all, before the next record, barrier or watermark.
    ///
    /// # Errors
    /// Fails the task.
    fn fire(&mut self, _out: &mut Output<Self::Out>) -> Result<bool> {
        Ok(true)
    }

    /// Something besides input has happened; passed on afterwards. After a tick comes [`Self::fire`].
    ///
    /// A sink returns the newest checkpoint that it has committed since the last event: the output up to it is visible.
    ///
    /// # Errors
    /// Fails the task.
    fn on_event(&mut self, _event: TaskEvent) -> Result<Option<CheckpointId>> {
        Ok(None)
    }

    /// No more records will come. Emit what is left.
    ///
    /// # Errors
    /// Fails the task.
    fn on_end(&mut self, _out: &mut Output<Self::Out>) -> Result<()> {
        Ok(())
    }

    /// Freezes the state for a checkpoint. The cheap part now, the rest in the returned closures.
    ///
    /// # Errors
    /// Fails the task.
    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OperatorSnapshot> {
        Ok(OperatorSnapshot::default())
    }

    /// Whether it takes another batch. `false` stalls the task's inputs, and so its producers.
    fn is_ready(&mut self) -> bool {
        true
    }

    /// When it wants the next [`TaskEvent::Tick`] at the latest.
    fn next_timer(&self) -> Option<ProcessingTime> {
        None
    }

    /// Gives a side output its target: a `Box<Box<dyn Downstream<S>>>`. Called before [`Self::open`]; a side output
    /// that nobody reads is not bound.
    ///
    /// # Errors
    /// When there is no side output of that name and type.
    fn bind_side_output(&mut self, name: &str, _downstream: Box<dyn Any + Send>) -> Result<()> {
        Err(Error::internal(format!("there is no side output {name:?}")))
    }

    /// Visits its side outputs, so that signals and barriers reach those who read them.
    ///
    /// # Errors
    /// The first error of the visitor.
    fn visit_side_outputs(
        &mut self,
        _visitor: &mut dyn FnMut(&mut dyn SideLink) -> Result<()>,
    ) -> Result<()> {
        Ok(())
    }
}

/// The receiving end of a typed link: the next operator of the chain, or the task's output.
pub trait Downstream<T: Record>: Send {
    /// Opens the operators behind this link, last first, so that no one emits into a closed operator.
    ///
    /// # Errors
    /// Fails the task.
    fn open(&mut self) -> Result<()>;

    /// Takes the records out of `batch`.
    ///
    /// # Errors
    /// Fails the task.
    fn batch(&mut self, batch: &mut Batch<T>) -> Result<()>;

    /// Takes a control element.
    ///
    /// # Errors
    /// Fails the task.
    fn signal(&mut self, signal: Signal) -> Result<()>;

    /// Takes a barrier: snapshots the operators behind this link, in order, and passes it on.
    ///
    /// # Errors
    /// Fails the task.
    fn barrier(
        &mut self,
        barrier: Barrier,
        snapshots: &mut Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<()>;

    /// Takes an event. Sinks behind this link add the checkpoint that they have committed since the last event to
    /// `committed`, with their uid.
    ///
    /// # Errors
    /// Fails the task.
    fn event(&mut self, event: TaskEvent, committed: &mut Vec<(OperatorUid, CheckpointId)>) -> Result<()>;

    /// Goes on with a bounded part of what signals and events have made due behind this link; whether that was all. To be
    /// called before each element, while there is room: an element that comes earlier has all the rest done first, however
    /// much that emits.
    ///
    /// # Errors
    /// Fails the task.
    fn resume(&mut self) -> Result<bool>;

    /// Sends partly filled batches on their way: the task has nothing more to do for now.
    ///
    /// # Errors
    /// Fails the task.
    fn flush(&mut self) -> Result<()>;

    /// Whether all behind this link have room for the output of one more batch, or of one [`Self::resume`]. Asking moves
    /// what waits, in all of them.
    fn is_ready(&mut self) -> bool;

    /// When an operator behind this link wants the next tick.
    fn next_timer(&self) -> Option<ProcessingTime>;
}

/// Where an operator's records go.
///
/// Records take the event time of the record that is being processed, unless given their own.
pub struct Output<T: Record> {
    batch: Batch<T>,
    time: EventTime,
    target: Box<dyn Downstream<T>>,
    emitted: u64,
    failure: Option<Error>,
}

impl<T: Record> Output<T> {
    /// An output into `target`.
    #[must_use]
    pub fn new(target: Box<dyn Downstream<T>>) -> Self {
        Self { batch: Batch::new(), time: EventTime::MIN, target, emitted: 0, failure: None }
    }

    /// Emits a record with the event time of the current input record or timer.
    #[inline]
    pub fn emit(&mut self, record: T) {
        self.emit_at(record, self.time);
    }

    /// Emits a record with an event time of its own.
    #[inline]
    pub fn emit_at(&mut self, record: T, time: EventTime) {
        self.batch.push(record, time);
        if self.batch.is_full() {
            self.pass_on();
        }
    }

    /// Sets the event time that [`Self::emit`] gives. For the engine.
    #[inline]
    pub fn set_time(&mut self, time: EventTime) {
        self.time = time;
    }

    /// The batch that is being filled, for operators that work on whole batches. Call [`Self::flush`] or
    /// [`Self::flush_if_full`] afterwards.
    #[inline]
    pub fn batch_mut(&mut self) -> &mut Batch<T> {
        &mut self.batch
    }

    /// Passes the batch on if it is full.
    #[inline]
    pub fn flush_if_full(&mut self) {
        if self.batch.is_full() {
            self.pass_on();
        }
    }

    #[cold]
    fn keep_failure(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    fn pass_on(&mut self) {
        self.emitted += self.batch.len() as u64;
        if self.failure.is_none()
            && let Err(error) = self.target.batch(&mut self.batch)
        {
            self.keep_failure(error);
        }
        self.batch.clear();
    }

    /// Passes on what has been emitted.
    ///
    /// # Errors
    /// The first error of an operator further down since the last flush.
    pub fn flush(&mut self) -> Result<()> {
        if !self.batch.is_empty() {
            self.pass_on();
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Records passed on since the last call.
    pub fn take_emitted(&mut self) -> u64 {
        std::mem::take(&mut self.emitted)
    }

    /// The link behind it, after a flush. For the engine.
    pub fn target(&mut self) -> &mut dyn Downstream<T> {
        &mut *self.target
    }

    /// The link behind it, to look at.
    #[must_use]
    pub fn target_ref(&self) -> &dyn Downstream<T> {
        &*self.target
    }
}

/// A side output as the engine sees it, whatever its type. A side output always leaves its chain, so that no operator
/// stands behind it in the same task.
pub trait SideLink {
    /// See [`Downstream::open`].
    ///
    /// # Errors
    /// Fails the task.
    fn open(&mut self) -> Result<()>;
    /// See [`Downstream::signal`].
    ///
    /// # Errors
    /// Fails the task.
    fn signal(&mut self, signal: Signal) -> Result<()>;
    /// See [`Downstream::barrier`].
    ///
    /// # Errors
    /// Fails the task.
    fn barrier(&mut self, barrier: Barrier) -> Result<()>;
    /// Passes on what has been emitted; `is_task_idle` as in [`Downstream::flush`].
    ///
    /// # Errors
    /// Fails the task.
    fn flush(&mut self, is_task_idle: bool) -> Result<()>;
    /// See [`Downstream::is_ready`].
    fn is_ready(&mut self) -> bool;
}

/// A further output of an operator, with a type of its own. Records emitted into one that nobody reads are dropped.
pub struct SideOutput<T: Record> {
    out: Option<Output<T>>,
    time: EventTime,
}

impl<T: Record> Default for SideOutput<T> {
    fn default() -> Self {
        Self { out: None, time: EventTime::MIN }
    }
}

impl<T: Record> SideOutput<T> {
    /// Emits a record with the event time of the current input record or timer.
    pub fn emit(&mut self, record: T) {
        let time = self.time;
        if let Some(out) = &mut self.out {
            out.emit_at(record, time);
        }
    }

    /// Sets the event time that [`Self::emit`] gives. For the engine.
    #[inline]
    pub fn set_time(&mut self, time: EventTime) {
        self.time = time;
    }

    /// Gives it its target: a `Box<Box<dyn Downstream<T>>>`. For the engine.
    ///
    /// # Errors
    /// When the target is of another type.
    pub fn bind(&mut self, downstream: Box<dyn Any + Send>) -> Result<()> {
        let target = downstream.downcast::<Box<dyn Downstream<T>>>();
        let target = target.map_err(|_| Error::internal("a side output is read as another type"))?;
        self.out = Some(Output::new(*target));
        Ok(())
    }

    fn with(&mut self, action: impl FnOnce(&mut Output<T>) -> Result<()>) -> Result<()> {
        self.out.as_mut().map_or(Ok(()), action)
    }
}

impl<T: Record> SideLink for SideOutput<T> {
    fn open(&mut self) -> Result<()> {
        self.with(|out| out.target().open())
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.with(|out| {
            out.flush()?;
            out.target().signal(signal)
        })
    }

    fn barrier(&mut self, barrier: Barrier) -> Result<()> {
        self.with(|out| {
            out.flush()?;
            out.target().barrier(barrier, &mut Vec::new())
        })
    }

    fn flush(&mut self, is_task_idle: bool) -> Result<()> {
        self.with(|out| {
            out.flush()?;
            if is_task_idle { out.target().flush() } else { Ok(()) }
        })
    }

    fn is_ready(&mut self) -> bool {
        self.out.as_mut().is_none_or(|out| out.target().is_ready())
    }
}
