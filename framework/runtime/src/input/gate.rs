//! Reads the channels of a task in turn and passes down what they deliver.

use flott_core::{
    Batch, OperatorUid, Record, Result, StreamElement,
    element::{Barrier, Signal},
    operator::{Downstream, TaskEvent},
    snapshot::OperatorSnapshot,
};

use crate::{
    exchange::{LocalReceiver, RemoteReceiver},
    input::{Alignment, BarrierAligner, WatermarkMerger},
    program::TaskSnapshot,
};

/// Elements that one step takes from the channels at most, so that the other tasks of the slot get their turn.
const ELEMENTS_PER_STEP: usize = 16;

/// The reading half of a chain that starts with an exchange.
pub trait TaskInput: Send {
    /// Opens the chain behind it.
    ///
    /// # Errors
    /// Fails the task.
    fn open(&mut self) -> Result<()>;

    /// Reads some; returns what happened. Snapshots taken on the way are added to `snapshots`.
    ///
    /// # Errors
    /// Fails the task.
    fn step(&mut self, snapshots: &mut Vec<TaskSnapshot>) -> Result<InputStatus>;

    /// See [`Downstream::event`].
    ///
    /// # Errors
    /// Fails the task.
    fn event(&mut self, event: TaskEvent) -> Result<()>;

    /// See [`Downstream::flush`].
    ///
    /// # Errors
    /// Fails the task.
    fn flush(&mut self) -> Result<()>;

    /// See [`Downstream::next_timer`].
    fn next_timer(&self) -> Option<flott_core::ProcessingTime>;
}

/// What a step of an input did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputStatus {
    /// Read something.
    Progress,
    /// There was nothing to read, or no room to pass it on.
    Waiting,
    /// The last channel ended in this step.
    Ended,
}

enum Receiver<T> {
    Local(LocalReceiver<T>),
    Remote(RemoteReceiver<T>),
}

/// The input of one task.
pub struct InputGate<T: Record> {
    receivers: Vec<Receiver<T>>,
    aligner: BarrierAligner,
    watermarks: WatermarkMerger,
    target: Box<dyn Downstream<T>>,
    next: usize,
}

impl<T: Record> InputGate<T> {
    /// An input over these channels into `target`.
    #[must_use]
    pub(crate) fn new(
        local_or_remote: Vec<Result<LocalReceiver<T>, RemoteReceiver<T>>>,
        target: Box<dyn Downstream<T>>,
    ) -> Self {
        let receivers: Vec<_> = local_or_remote
            .into_iter()
            .map(|receiver| receiver.map_or_else(Receiver::Remote, Receiver::Local))
            .collect();
        let channels = receivers.len();
        Self {
            receivers,
            aligner: BarrierAligner::new(channels),
            watermarks: WatermarkMerger::new(channels),
            target,
            next: 0,
        }
    }

    /// The next element of any channel that may be read, in turn.
    fn next_element(&mut self) -> Result<Option<(usize, StreamElement<T>)>> {
        for _ in 0..self.receivers.len() {
            let channel = self.next;
            self.next = if channel + 1 == self.receivers.len() { 0 } else { channel + 1 };
            if self.aligner.is_blocked(channel) {
                continue;
            }
            let element = match &mut self.receivers[channel] {
                Receiver::Local(receiver) => receiver.next(),
                Receiver::Remote(receiver) => receiver.next()?,
            };
            if let Some(element) = element {
                return Ok(Some((channel, element)));
            }
        }
        Ok(None)
    }

    fn on_batch(&mut self, channel: usize, mut batch: Batch<T>) -> Result<()> {
        self.watermarks.on_batch(channel);
        self.target.batch(&mut batch)?;
        batch.clear();
        match &mut self.receivers[channel] {
            Receiver::Local(receiver) => receiver.recycle(batch),
            Receiver::Remote(receiver) => receiver.recycle(batch),
        }
        Ok(())
    }

    /// Passes on what is new of event time; whether the input has ended.
    fn pass_signals(&mut self) -> Result<bool> {
        while let Some(signal) = self.watermarks.next_signal() {
            self.target.signal(signal)?;
            if signal == Signal::End {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn on_barrier(
        &mut self,
        channel: usize,
        barrier: Barrier,
        snapshots: &mut Vec<TaskSnapshot>,
    ) -> Result<()> {
        if self.aligner.on_barrier(channel, barrier.checkpoint) == Alignment::Aligned {
            let mut operators: Vec<(OperatorUid, OperatorSnapshot)> = Vec::new();
            self.target.barrier(barrier, &mut operators)?;
            snapshots.push(TaskSnapshot { checkpoint: barrier.checkpoint, operators });
        }
        Ok(())
    }
}

impl<T: Record> TaskInput for InputGate<T> {
    fn open(&mut self) -> Result<()> {
        self.target.open()
    }

    fn step(&mut self, snapshots: &mut Vec<TaskSnapshot>) -> Result<InputStatus> {
        let mut status = InputStatus::Waiting;
        for _ in 0..ELEMENTS_PER_STEP {
            if !self.target.is_ready() {
                break;
            }
            let Some((channel, element)) = self.next_element()? else { break };
            status = InputStatus::Progress;
            match element {
                StreamElement::Batch(batch) => self.on_batch(channel, batch)?,
                StreamElement::Signal(signal) => self.watermarks.on_signal(channel, signal),
                StreamElement::Barrier(barrier) => self.on_barrier(channel, barrier, snapshots)?,
            }
            if self.pass_signals()? {
                return Ok(InputStatus::Ended);
            }
        }
        Ok(status)
    }

    fn event(&mut self, event: TaskEvent) -> Result<()> {
        self.target.event(event)
    }

    fn flush(&mut self) -> Result<()> {
        self.target.flush()
    }

    fn next_timer(&self) -> Option<flott_core::ProcessingTime> {
        self.target.next_timer()
    }
}
