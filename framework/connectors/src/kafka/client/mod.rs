//! A raw Kafka client for the control side: metadata, offsets, and transactions that another process began.
//!
//! It takes the same property names as librdkafka, so that users set brokers, TLS and SASL once. It never produces.
//! One request is in flight per connection; frames are bounded before they are allocated; every call ends within the
//! client's patience. An answer that means "later" or "elsewhere" is retried, every other answer is handed back.
//!
//! Start reading at [`KafkaClient`]. `frame` and `scram` are pure; `connection` and `pool` do the I/O.

mod code;
mod connection;
mod frame;
mod kafka_client;
mod metadata;
mod offsets;
mod pool;
mod record_fate;
mod sasl;
mod scram;
mod settings;
mod tls;
mod transactions;

pub use code::KafkaCode;
pub use kafka_client::KafkaClient;
pub use metadata::{ClusterMetadata, PartitionMetadata, TopicMetadata};
pub use offsets::CommittedOffset;
pub use record_fate::RecordFate;
pub use settings::{BrokerAddress, ClientSettings, Secret};
pub use transactions::{ListedTransaction, ProducerIdentity, TransactionDescription, TransactionPhase};
