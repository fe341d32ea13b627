use super::{StepTime, TaskEvent};
use crate::{
    element::{Barrier, Signal},
    error::{Error, Result},
    id::{CheckpointId, OperatorUid},
    snapshot::OperatorSnapshot,
    source::Split,
    time::ProcessingTime,
};

/// The next element of a [`Head`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The chain was given a batch, or more can be read at once.
    Progress,
    /// A watermark, an idle marker or the end, which the chain is to be given.
    Signal(Signal),
    /// A barrier, which the chain is to be given.
    Barrier(Barrier),
    /// There is nothing to read for now.
    Nothing,
}

/// The first link of a chain: it reads an external system, or what other tasks send.
///
/// A head says what comes next. The task owns the order: it makes sure that the chain has room, lets it go on with what earlier
/// elements have made due, gives it the barriers that wait, and only then reads.
pub trait Head: Send {
    /// Opens the chain behind it. Called once, first.
    ///
    /// # Errors
    /// Fails the task.
    fn open(&mut self) -> Result<()>;

    /// Returns `true` if it reads an external system: it has to be asked from time to time, and barriers start at it.
    fn is_source(&self) -> bool {
        false
    }

    /// Gives a source more splits. An empty list says that there are none for it now.
    ///
    /// # Errors
    /// Fails the task, also when this is no source.
    fn add_splits(&mut self, _splits: Vec<Split>) -> Result<()> {
        Err(not_a_source())
    }

    /// Tells a source that no more splits will be added.
    ///
    /// # Errors
    /// Fails the task, when this is no source.
    fn no_more_splits(&mut self) -> Result<()> {
        Err(not_a_source())
    }

    /// Returns `true` if the chain has room for one more element, see
    /// [`Downstream::is_ready`](super::Downstream::is_ready).
    fn is_ready(&mut self) -> bool;

    /// Lets the chain go on with a bounded part of what is due, see [`Downstream::resume`](super::Downstream::resume).
    ///
    /// # Errors
    /// Fails the task.
    fn resume(&mut self) -> Result<bool>;

    /// Reads the next element, of which it gives the chain a batch itself. To be called only when the chain has room and
    /// nothing is due.
    ///
    /// # Errors
    /// Fails the task.
    fn read(&mut self, time: StepTime) -> Result<Next>;

    /// Gives the chain a signal that it has read.
    ///
    /// # Errors
    /// Fails the task.
    fn signal(&mut self, signal: Signal) -> Result<()>;

    /// Gives the chain a barrier, and adds the snapshots of the head and of the operators behind it to `snapshots`.
    ///
    /// # Errors
    /// Fails the task.
    fn barrier(
        &mut self,
        barrier: Barrier,
        snapshots: &mut Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<()>;

    /// Gives the chain an event, see [`Downstream::event`](super::Downstream::event).
    ///
    /// # Errors
    /// Fails the task.
    fn event(&mut self, event: TaskEvent, committed: &mut Vec<(OperatorUid, CheckpointId)>) -> Result<()>;

    /// Sends partly filled batches on their way, see [`Downstream::flush`](super::Downstream::flush).
    ///
    /// # Errors
    /// Fails the task.
    fn flush(&mut self) -> Result<()>;

    /// The time at which it, or an operator behind it, wants the next tick.
    fn next_timer(&self) -> Option<ProcessingTime>;
}

fn not_a_source() -> Error {
    Error::internal("an action for a source reached another task")
}
