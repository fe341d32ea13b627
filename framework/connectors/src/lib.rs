//! Sources and sinks, one folder and one feature each.
//!
//! What needs nothing but memory is always there: [`generate`] and [`collection`] sources, [`print`] and [`discard`]
//! sinks, and the record [`format`]s. Unsafe code is confined to one file, the calls of librdkafka that take and give
//! batches.

pub mod collection;
pub mod discard;
#[cfg(feature = "file")]
pub mod file;
pub mod format;
pub mod generate;
#[cfg(test)]
mod golden;
#[cfg(feature = "file")]
mod io;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod print;
