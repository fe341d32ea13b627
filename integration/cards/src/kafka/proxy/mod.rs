//! A proxy in front of a broker, by which a test stops time at one request.
//!
//! The broker advertises the proxy's port, so that all clients, and the brokers among themselves, come through it. A
//! [`Verdict`] is given on every request, by a function of the test; that function may also wait, and hold this request and
//! those behind it on the same connection.
//!
//! `relay` moves bytes, `request` reads and writes frames.

mod kafka_proxy;
mod relay;
mod request;

pub use kafka_proxy::KafkaProxy;
pub use request::{ProxiedRequest, Verdict};
