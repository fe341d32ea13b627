//! Real Apache Kafka: one KRaft process per broker, on this machine, from the jars of the Maven registry.
//!
//! [`availability`] says whether Kafka can be had; with its [`KafkaLibraries`] a test starts a [`KafkaBroker`] or a
//! [`KafkaCluster`] of its own, and kills, freezes, restarts or removes brokers. [`daemon`] holds the brokers of
//! `cargo xtask kafka up`, which outlive the command.

mod broker;
mod certificate;
mod cluster;
pub mod daemon;
mod format;
mod libraries;
mod password;
mod port;
mod seat;
mod server;
mod settings;
mod tools;

pub use broker::KafkaBroker;
pub use certificate::Certificate;
pub use cluster::KafkaCluster;
pub use libraries::{KafkaAvailability, KafkaLibraries, availability, availability_of};
pub use password::scram_password;
pub use settings::BrokerSettings;
pub use tools::tool;

/// The version of Apache Kafka that is used by default: the newest before 4.3, see `framework/decisions/0009`.
pub const VERSION: &str = "4.2.2";

/// Environment variable by which `cargo xtask` tells a forwarded command where Kafka's jars are.
///
/// Job binaries take every `FLOTT_…` variable for a setting: see [`hide_from`].
pub const LIBRARIES_VARIABLE: &str = "FLOTT_KAFKA_LIBS";

/// Environment variable by which `cargo xtask` tells a forwarded command why there is no Kafka.
pub const UNAVAILABLE_VARIABLE: &str = "FLOTT_KAFKA_UNAVAILABLE";

/// Keeps both variables from a job binary that is about to be started: to it they would be unknown settings.
pub fn hide_from(job: &mut std::process::Command) {
    job.env_remove(LIBRARIES_VARIABLE).env_remove(UNAVAILABLE_VARIABLE);
}
