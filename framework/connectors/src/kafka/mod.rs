//! Apache Kafka.
//!
//! - [`source`]: reads a topic.
//! - [`sink`]: writes to one.
//! - [`client`]: a small client of our own for what librdkafka cannot do: ask about transactions, and finish or fence
//!   those of somebody else.
//! - [`settlement`]: what recovery does with the transactions that a checkpoint lists, before anything is deployed.

mod background;
mod blocking;
pub mod client;
mod failure;
mod message;
#[allow(unsafe_code, reason = "the one file that calls librdkafka itself")]
mod native;
mod properties;
pub mod settlement;
pub mod sink;
pub mod source;
mod trouble;

pub use message::{KafkaHeaders, KafkaMessage};
