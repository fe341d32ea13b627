//! Apache Kafka.
//!
//! - [`client`]: a small client of our own for what librdkafka cannot do: ask about transactions, and finish or fence
//!   those of somebody else.
//! - [`settlement`]: what recovery does with the transactions that a checkpoint lists, before anything is deployed.

pub mod client;
pub mod settlement;
