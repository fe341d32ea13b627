//! What a sink's writers and its settler share.

use std::{sync::Arc, time::Duration};

use flott_core::{Error, ErrorKind, JobIdentity, Result};
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
const DEFAULTS: [(&str, &str); 6] = [
    ("queue.buffering.max.kbytes", "32768"),
    ("queue.buffering.max.messages", "200000"),
    ("partitioner", "murmur2_random"),
    ("socket.nagle.disable", "true"),
    RECONNECT,
    ("allow.auto.create.topics", "false"),
];

/// librdkafka's own: longer than it takes to give it a request's worth of records.
const LINGER: (&str, &str) = ("linger.ms", "1000");
const LINGER_DEFAULT: Duration = Duration::from_millis(5);

const RESERVED: [Reserved; 7] = [
    ("queue.buffering.max.ms", "use linger.ms"),
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

    /// How long records wait for others: Kafka's `linger.ms`.
    pub(super) fn linger(&self) -> Result<Duration> {
        let Some(text) = self.properties.given().get("linger.ms") else { return Ok(LINGER_DEFAULT) };
        let seconds = text.parse().ok().map(|millis: f64| millis / 1000.0);
        seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or_else(|| {
            let text = format!("{}: linger.ms is {text:?}; set it to a number of milliseconds", self.what());
            Error::new(ErrorKind::Settings, text)
        })
    }

    pub(super) fn idempotent_config(&self) -> Result<ClientConfig> {
        self.properties.client_config(
            &DEFAULTS,
            &[("enable.idempotence", "true"), ("acks", "all"), LINGER],
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
            LINGER,
        ];
        self.properties.client_config(&DEFAULTS, &fixed, &RESERVED)
    }
}

/// Whose markers are ours.
pub(super) fn owner(job: &JobIdentity) -> MarkerOwner {
    MarkerOwner { job: job.name.clone(), run: job.run.clone() }
}
