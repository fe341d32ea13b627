//! What a job hands over besides its graph: how to make its operators and edges. Types are erased once, here.

use std::{any::Any, sync::Arc};

use flott_core::{
    CheckpointId, EdgeId, OperatorId, OperatorUid, ProcessingTime, Result, SubtaskIndex,
    element::Barrier,
    operator::{OperatorContext, StepTime, TaskEvent},
    sink::Settler,
    snapshot::OperatorSnapshot,
    source::{SourceStatus, Split, SplitEnumerator},
};
use flott_plan::JobGraph;

use crate::{
    exchange::{RemoteInput, RemoteOutput},
    slot::SlotWaker,
};

/// A `Box<dyn Downstream<T>>` whose `T` the holder does not name.
pub type ErasedDownstream = Box<dyn Any + Send>;

/// One end of a queue in this process, whose record type the holder does not name.
pub type ErasedChannel = Box<dyn Any + Send>;

/// The reading half of a chain that starts with a source.
pub trait TaskSource: Send {
    /// Opens the chain behind it.
    ///
    /// # Errors
    /// Fails the task.
    fn open(&mut self) -> Result<()>;
    /// See [`SourceReader::add_splits`](flott_core::source::SourceReader::add_splits).
    ///
    /// # Errors
    /// Fails the task.
    fn add_splits(&mut self, splits: Vec<Split>) -> Result<()>;
    /// No more splits will be added.
    fn no_more_splits(&mut self);
    /// Reads some and passes it down the chain, with watermarks, and at the end the end.
    ///
    /// # Errors
    /// Fails the task.
    fn poll(&mut self, time: StepTime) -> Result<SourceStatus>;
    /// Snapshots the chain and passes the barrier on. To be called only when [`Self::is_ready`].
    ///
    /// # Errors
    /// Fails the task.
    fn barrier(
        &mut self,
        barrier: Barrier,
        snapshots: &mut Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<()>;
    /// See [`Downstream::event`](flott_core::operator::Downstream::event).
    ///
    /// # Errors
    /// Fails the task.
    fn event(&mut self, event: TaskEvent, committed: &mut Vec<(OperatorUid, CheckpointId)>) -> Result<()>;
    /// See [`Downstream::flush`](flott_core::operator::Downstream::flush).
    ///
    /// # Errors
    /// Fails the task.
    fn flush(&mut self) -> Result<()>;
    /// See [`Downstream::is_ready`](flott_core::operator::Downstream::is_ready).
    fn is_ready(&mut self) -> bool;
    /// See [`Downstream::next_timer`](flott_core::operator::Downstream::next_timer).
    fn next_timer(&self) -> Option<ProcessingTime>;
}

/// Makes one operator of the job, once per subtask.
pub trait OperatorFactory: Send + Sync {
    /// Makes the operator of a subtask and links it to what comes after it. `target` is for its main output,
    /// `side_outputs` for those side outputs that are read.
    ///
    /// # Errors
    /// When a component cannot be made.
    fn link(
        &self,
        context: OperatorContext,
        target: ErasedDownstream,
        side_outputs: Vec<(String, ErasedDownstream)>,
    ) -> Result<ErasedDownstream>;

    /// Makes the source of a subtask and links it to what comes after it.
    ///
    /// # Errors
    /// When a component cannot be made, or this is not a source.
    fn source(&self, context: OperatorContext, target: ErasedDownstream) -> Result<Box<dyn TaskSource>>;

    /// One target for the main output that feeds all of `targets`; with none it drops the records.
    ///
    /// # Panics
    /// When a target is of another type: a bug in the façade.
    fn fan_out(&self, targets: Vec<ErasedDownstream>) -> ErasedDownstream;

    /// The source's enumerator; `None` if this is not a source.
    ///
    /// # Errors
    /// When its settings are invalid.
    fn enumerator(&self) -> Result<Option<Box<dyn SplitEnumerator>>>;

    /// The sink's settler; `None` if this is not a sink or it leaves nothing behind.
    ///
    /// # Errors
    /// When its settings are invalid.
    fn settler(&self) -> Result<Option<Box<dyn Settler>>>;

    /// See [`Sink::check`](flott_core::sink::Sink::check); nothing for other operators.
    ///
    /// # Errors
    /// What is wrong, why, and what to do.
    fn check(&self, checkpoint_interval_ms: u64) -> Result<()>;
}

/// Where one channel of an edge leads, seen from the sending subtask.
pub enum OutputChannel {
    /// To a subtask in this process: the sending end that [`EdgeFactory::local_channel`] made.
    Local(ErasedChannel),
    /// To a subtask in another process.
    Remote(RemoteOutput),
}

/// Where one channel of an edge comes from, seen from the receiving subtask.
pub enum InputChannel {
    /// From a subtask in this process: the receiving end.
    Local(ErasedChannel),
    /// From a subtask in another process.
    Remote(RemoteInput),
}

/// Makes the exchange parts of one edge, which knows the type of its records.
pub trait EdgeFactory: Send + Sync {
    /// A queue between two subtasks of this process: sending and receiving end.
    fn local_channel(&self, sender: SlotWaker, receiver: SlotWaker) -> (ErasedChannel, ErasedChannel);

    /// The output of the sending subtask `sender`, over channels in order of receiving subtasks.
    ///
    /// # Panics
    /// When a channel is of another type: a bug in the deployment.
    fn output(&self, sender: SubtaskIndex, channels: Vec<OutputChannel>) -> ErasedDownstream;

    /// The input of one receiving subtask, over the channels of all its edges.
    ///
    /// # Panics
    /// When a channel or the target is of another type: a bug in the deployment.
    fn input(
        &self,
        channels: Vec<InputChannel>,
        target: ErasedDownstream,
    ) -> Box<dyn crate::input::TaskInput>;
}

/// A job: its graph and how to make what the graph names.
#[derive(Clone)]
pub struct JobProgram {
    /// What was declared.
    pub graph: JobGraph,
    /// By [`OperatorId`].
    pub operators: Vec<Arc<dyn OperatorFactory>>,
    /// By [`EdgeId`].
    pub edges: Vec<Arc<dyn EdgeFactory>>,
}

impl JobProgram {
    /// How to make an operator.
    #[must_use]
    pub fn operator(&self, id: OperatorId) -> &dyn OperatorFactory {
        &*self.operators[id.0 as usize]
    }

    /// How to make an edge.
    #[must_use]
    pub fn edge(&self, id: EdgeId) -> &dyn EdgeFactory {
        &*self.edges[id.0 as usize]
    }
}
