//! A raw Kafka client for the control side: metadata, offsets, and transactions that another process began.
//!
//! It takes the same property names as librdkafka, so that users set brokers, TLS and SASL once. It never produces.
//! One request is in flight per connection; frames are bounded before they are allocated; every call ends within the
//! client's patience. An answer that means "later" or "elsewhere" is retried, every other answer is handed back. Any broker
//! may be away: those that metadata name are asked as well as those that the user gave, and one that cannot be reached is left
//! alone for a second.
//!
//! Start reading at [`KafkaClient`]. `brokers`, `frame`, `listing` and `scram` are pure; `connection` and `pool` do the I/O.

mod brokers;
mod code;
mod connection;
#[cfg(test)]
mod fake_broker;
mod frame;
mod insistence;
mod kafka_client;
mod listing;
mod metadata;
mod offsets;
mod pool;
mod producers;
mod record_fate;
mod sasl;
mod scram;
mod settings;
mod tls;
mod transactions;

pub use brokers::KnownBrokers;
pub use code::KafkaCode;
pub use kafka_client::KafkaClient;
pub use metadata::{ClusterMetadata, PartitionMetadata, TopicMetadata};
pub use offsets::{CommittedOffset, StableOffset};
pub use producers::{EndedProducers, OpenTransaction, PartitionProducers};
pub use record_fate::RecordFate;
pub use settings::{BrokerAddress, ClientSettings};
pub use transactions::{ListedTransaction, ProducerIdentity, TransactionDescription, TransactionPhase};
