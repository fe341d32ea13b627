//! Writes to a topic, at least once or exactly once.
//!
//! Exactly once is a chain of transactions, one per subtask and checkpoint. At the barrier a transaction is flushed,
//! gets a commit marker and is listed in the checkpoint; when the checkpoint is complete it is committed, by its
//! writer, or after a failure by the JobManager. [`slots`] decides which producer takes which transaction and when one
//! may be used again; the rest carries that out.

mod at_least_once;
mod check;
mod committer;
mod dispatcher;
mod exactly_once;
mod flush;
mod inspector;
mod kafka_sink;
mod lane;
mod outbox;
mod record;
mod serializer;
mod settings;
mod settler;
mod slots;
mod starter;
mod transaction;

pub use kafka_sink::KafkaSink;
pub use record::KafkaRecordBuilder;
