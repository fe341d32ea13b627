//! Stateful stream processing in application mode: one binary per job, exactly once.
//!
//! A job is an ordinary `main` that declares a dataflow. The binary is the whole cluster: by flag it acts as JobManager
//! or TaskManager, or as both in one process.
//!
//! ```
//! use flott::prelude::*;
//!
//! /// Counts words.
//! #[flott::main]
//! fn main(job: &mut Job) -> Result<()> {
//!     job.source("lines", CollectionSource::new(vec!["to be or not".to_string(), "to be".to_string()]))
//!         .flat_map(|line: String| line.split(' ').map(|word| (word.to_string(), 1u64)).collect::<Vec<_>>())
//!         .key_by(|(word, _)| word.clone())
//!         .reduce("counts", |count, (_, one)| count.1 += one)
//!         .sink("out", PrintSink::json());
//!     Ok(())
//! }
//! ```
#![forbid(unsafe_code)]

mod declare;
mod features;
mod job;
mod keyed;
mod launch;
pub mod prelude;
mod settings;
mod stream;
mod windowed;

pub use flott_connectors as connectors;
pub use flott_core::*;
pub use flott_macros::*;
pub use flott_operators as operators;

pub use job::Job;
pub use keyed::KeyedStream;
pub use launch::NoParams;
pub use stream::{IntoStream, SourceStream, Stream};
pub use windowed::WindowedStream;

/// What the macros' expansions name. No part of the public API.
#[doc(hidden)]
pub mod plumbing {
    pub use clap;
    pub use flott_core as core;
    pub use flott_operators as operators;
    pub use serde;

    pub use crate::launch::{JobInfo, Parameters, run_main};

    /// Finishes a declaration, for tests.
    ///
    /// # Errors
    /// All mistakes in it.
    pub fn finish(job: crate::Job) -> flott_core::Result<flott_runtime::program::JobProgram> {
        job.finish()
    }
}

/// The jobs that the README shows must compile.
#[cfg(all(doctest, feature = "kafka"))]
#[doc = include_str!("../../README.md")]
pub struct Readme;
