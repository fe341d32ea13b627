//! Sources and sinks, one folder and one feature each.
#![forbid(unsafe_code)]

#[cfg(feature = "kafka")]
pub mod kafka;
