//! What a sink's writers and its settler share.

use std::{sync::Arc, time::Duration};

use flott_core::{JobIdentity, Result};
use rdkafka::ClientConfig;

use crate::kafka::{
    properties::{Properties, RECONNECT, Reserved},
    settlement::MarkerOwner,
};

/// Brokers allow no longer transactions unless told otherwise.
pub(super) const TRANSACTION_TIMEOUT_MAX: Duration = Duration::from_secs(15 * 60);

#[derive(Clone)]
pub(super) struct SinkSettings {
    pub(super) topic: Arc<str>,
    pub(super) properties: Properties,
    /// Prefix of transactional ids; with one the sink is exactly-once.
    pub(super) prefix: Option<String>,
    pub(super) transaction_timeout: Option<Duration>,
}

/// At most 32 MiB wait in a producer. Keys go to the same partitions as with Kafka's own clients.
const DEFAULTS: [(&str, &str); 7] = [
    ("linger.ms", "5"),
    ("queue.buffering.max.kbytes", "32768"),
    ("queue.buffering.max.messages", "200000"),
    ("partitioner", "murmur2_random"),
    ("socket.nagle.disable", "true"),
    RECONNECT,
    ("allow.auto.create.topics", "false"),
];

const RESERVED: [Reserved; 6] = [
    ("transactional.id", "use `.exactly_once(…)`"),
    ("transaction.timeout.ms", "use `.transaction_timeout(…)`"),
    ("enable.idempotence", "the sink needs it"),
    ("acks", "the sink needs all"),
    ("request.required.acks", "the sink needs all"),
    ("delivery.report.only.error", "the sink needs all reports"),
];

impl SinkSettings {
    pub(super) fn new(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            topic: topic.into().into(),
            properties: Properties::new(brokers),
            prefix: None,
            transaction_timeout: None,
        }
    }

    pub(super) fn what(&self) -> String {
        format!("Kafka topic {} at {}", self.topic, self.properties.brokers())
    }

    /// The transaction timeout as set, else the longest that brokers allow, as far as they tell.
    pub(super) fn effective_transaction_timeout(&self, allowed: Option<Duration>) -> Duration {
        let longest = allowed.map_or(TRANSACTION_TIMEOUT_MAX, |allowed| allowed.min(TRANSACTION_TIMEOUT_MAX));
        self.transaction_timeout.unwrap_or(longest)
    }

    pub(super) fn idempotent_config(&self) -> Result<ClientConfig> {
        self.properties.client_config(
            &DEFAULTS,
            &[("enable.idempotence", "true"), ("acks", "all")],
            &RESERVED,
        )
    }

    pub(super) fn transactional_config(&self, id: &str, timeout: Duration) -> Result<ClientConfig> {
        let timeout_ms = timeout.as_millis().to_string();
        let fixed = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("transactional.id", id),
            ("transaction.timeout.ms", &timeout_ms),
        ];
        self.properties.client_config(&DEFAULTS, &fixed, &RESERVED)
    }
}

/// Whose markers are ours.
pub(super) fn owner(job: &JobIdentity) -> MarkerOwner {
    MarkerOwner { job: job.name.clone(), run: job.run.clone() }
}
