//! The outputs of a task: [`Partitioner`]s decide which subtask gets a record, [`ExchangeOutput`] sends it there.

mod partitioner;
mod writer;

pub use partitioner::{ForwardPartitioner, HashPartitioner, Partitioner, RebalancePartitioner};
pub use writer::ExchangeOutput;
pub(crate) use writer::Sender;
