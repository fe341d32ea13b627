//! One task attempt: tasklets on slot threads, typed chains, input gates and the exchange between them.
//!
//! Start with [`program`]: what a job hands over besides its graph. [`deployment`] builds the tasks of one process from
//! it, [`task`] is the life of one task, [`slot`] the thread that steps tasks, [`exchange`] what moves batches between
//! threads and processes. Nothing here decides about the job, and nothing knows how the cluster talks.
#![forbid(unsafe_code)]

mod commits;
pub mod deployment;
pub mod exchange;
pub mod input;
pub mod output;
pub mod program;
pub mod slot;
pub mod task;
