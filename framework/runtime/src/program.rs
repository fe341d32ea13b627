//! What a job hands over besides its graph: how to make its operators and edges. Types are erased once, here.

use std::{any::Any, sync::Arc};

use flott_core::{
    EdgeId, OperatorId, Result, SubtaskIndex,
    operator::{Head, OperatorContext},
    sink::Settler,
    source::SplitEnumerator,
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
    fn source(&self, context: OperatorContext, target: ErasedDownstream) -> Result<Box<dyn Head>>;

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
    fn input(&self, channels: Vec<InputChannel>, target: ErasedDownstream) -> Box<dyn Head>;
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
