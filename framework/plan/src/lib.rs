//! The job graph and how it becomes an execution plan. Pure data, no I/O.
//!
//! Start with [`graph`]: what the user declared. [`execution`] chains operators into vertices and settles every
//! parallelism; `explain` prints the result. [`event_time`] finds operators that would wait for watermarks in vain.
#![forbid(unsafe_code)]

pub mod event_time;
pub mod execution;
mod explain;
pub mod graph;

pub use event_time::WatermarkStrategy;
pub use execution::{ExecutionPlan, Vertex};
pub use graph::{GraphEdge, JobGraph, OperatorNode, OperatorRole, Partitioning};

#[cfg(test)]
mod tests;
