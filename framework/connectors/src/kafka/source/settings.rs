//! Where a source starts and ends, and what it does with what it cannot use.

use std::{collections::BTreeMap, time::Duration};

use flott_core::Result;
use rdkafka::ClientConfig;

use crate::kafka::properties::{Properties, RECONNECT, Reserved};

const DISCOVERY_INTERVAL: Duration = Duration::from_secs(60);

/// Where to read from when the job has no checkpoint. Partitions found later are read from their beginning.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum StartOffsets {
    /// The first record that is still there.
    #[default]
    Earliest,
    /// After the last record that a `read_committed` reader sees when the job first starts.
    Latest,
    /// The first record with this timestamp or a later one, in milliseconds since the epoch.
    Timestamp(i64),
    /// What a consumer group has committed.
    Committed {
        /// The group.
        group: String,
        /// What to do in partitions in which it has committed nothing.
        or: OffsetReset,
    },
    /// Offsets by partition; partitions that are not listed are read from their beginning.
    Explicit(BTreeMap<i32, i64>),
}

/// What to do where there is no offset to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OffsetReset {
    /// Say so and stop: nothing is skipped or repeated silently.
    #[default]
    Fail,
    /// Go on with the first record that is still there.
    Earliest,
    /// Go on after the last record.
    Latest,
}

/// Where to end. Offsets are fixed when the job first starts and stay so through recoveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundedAt {
    /// The end of each partition, as a `read_committed` reader sees it.
    Latest,
    /// Before the first record with this timestamp or a later one, in milliseconds since the epoch.
    Timestamp(i64),
    /// Before these offsets, by partition; partitions that are not listed are not read.
    Explicit(BTreeMap<i32, i64>),
}

/// What to do with a record that cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Poison {
    /// Fail the task; the error names topic, partition and offset.
    #[default]
    Fail,
    /// Leave it out and count it in `records_dropped`.
    Skip,
}

/// What a source's enumerator and readers share.
#[derive(Clone)]
pub(super) struct SourceSettings {
    pub(super) topic: String,
    pub(super) properties: Properties,
    pub(super) start: StartOffsets,
    pub(super) bounded: Option<BoundedAt>,
    pub(super) group: Option<String>,
    pub(super) discovery_interval: Option<Duration>,
    pub(super) poison: Poison,
    pub(super) missing: OffsetReset,
}

/// Settings by which both kinds of consumer read the same.
const SHARED: [(&str, &str); 2] =
    [("isolation.level", "read_committed"), ("allow.auto.create.topics", "false")];

/// At most 16 MiB wait in a reader's queue, plus one answer of the broker. librdkafka's pause of a second after the
/// queue was full would starve a fast job.
const READER: [(&str, &str); 7] = [
    ("queued.max.messages.kbytes", "16384"),
    ("queued.min.messages", "1000000"),
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.message.max.bytes", "4194304"),
    ("fetch.wait.max.ms", "100"),
    ("socket.nagle.disable", "true"),
    RECONNECT,
];

const RESERVED: [Reserved; 6] = [
    (
        "enable.auto.commit",
        "offsets are kept in checkpoints; use `.group(…)` to have them committed for monitoring",
    ),
    ("enable.auto.offset.store", "offsets are kept in checkpoints"),
    ("auto.offset.reset", "use `.start(…)` and `.on_missing_offset(…)`"),
    ("group.id", "use `.group(…)`"),
    ("enable.partition.eof", "the source needs it"),
    ("partition.assignment.strategy", "partitions are assigned by the JobManager"),
];

impl SourceSettings {
    pub(super) fn new(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            properties: Properties::new(brokers),
            start: StartOffsets::default(),
            bounded: None,
            group: None,
            discovery_interval: Some(DISCOVERY_INTERVAL),
            poison: Poison::default(),
            missing: OffsetReset::default(),
        }
    }

    /// For a consumer that only asks about offsets.
    pub(super) fn enumerator_config(&self) -> Result<ClientConfig> {
        let mut fixed = vec![("enable.auto.commit", "false")];
        if let StartOffsets::Committed { group, .. } = &self.start {
            fixed.push(("group.id", group));
        }
        self.properties.client_config(&SHARED, &fixed, &RESERVED)
    }

    /// For a consumer that reads.
    pub(super) fn reader_config(&self) -> Result<ClientConfig> {
        let reset = match self.missing {
            OffsetReset::Fail => "error",
            OffsetReset::Earliest => "earliest",
            OffsetReset::Latest => "latest",
        };
        let mut fixed = vec![
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", reset),
        ];
        if let Some(group) = &self.group {
            fixed.push(("group.id", group));
        }
        self.properties.client_config(&[&SHARED[..], &READER[..]].concat(), &fixed, &RESERVED)
    }
}
