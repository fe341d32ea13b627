//! Reads a topic.
//!
//! The enumerator at the JobManager finds partitions and decides where each is read from and where it ends; readers
//! read them. Nothing is ever left to a consumer group: partitions are assigned, offsets live in the checkpoint.

mod decoder;
mod enumerator;
mod kafka_source;
mod reader;
mod refusals;
mod settings;
mod silence;
mod split;
mod topic_identity;

pub use kafka_source::KafkaSource;
pub use settings::{BoundedAt, OffsetReset, Poison, StartOffsets};
