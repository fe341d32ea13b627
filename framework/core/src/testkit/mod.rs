//! What tests of operators need: state in plain maps, a link that collects, and a harness that runs an operator alone.
//!
//! Tests of many seeded cases take their choices from [`Random`] and their number from [`seeds`].
//!
//! Start at [`verify`]: it runs one script record by record, in batches, and with a snapshot and restore after every
//! step, and compares. [`verify_writer`] does as much for the writer of a sink.

mod backend;
mod collect;
mod colliding;
mod harness;
mod random;
mod tables;
mod writer;

pub use backend::MapBackend;
pub use collect::{Collector, Seen};
pub use colliding::colliding_texts;
pub use harness::{OperatorHarness, Step, context, restored, side_target, verify};
pub use random::{Random, depth, seeds};
pub use writer::{WriterHarness, verify_drop, verify_writer, writer_context};
