//! What the developer commands are made of, and the real Kafka brokers that tests start for themselves.
//!
//! The library stays small and free of native dependencies, so that `cargo xtask` builds in seconds. The heavy
//! commands (`demo`, `chaos`, `bench`) are packages of their own; [`forward`] builds and executes them.
//!
//! Start reading at [`kafka`] for brokers, at [`setup`] for what a bare machine lacks, at [`suite`] for the tests.

#![forbid(unsafe_code)]

pub mod cache;
pub mod clock;
mod error;
pub mod forward;
pub mod job;
pub mod kafka;
pub mod process;
pub mod processor;
pub mod setup;
pub mod suite;

pub use error::{Error, Result};
