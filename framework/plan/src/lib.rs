//! The job graph and how it becomes an execution plan. Pure data, no I/O.
//!
//! Start with [`graph`]: what the user declared. [`execution`] chains operators into vertices and settles every
//! parallelism; `explain` prints the result.
#![forbid(unsafe_code)]

pub mod execution;
mod explain;
pub mod graph;

pub use execution::{ExecutionPlan, Vertex};
pub use graph::{GraphEdge, JobGraph, OperatorNode, OperatorRole, Partitioning};

#[cfg(test)]
mod tests;
