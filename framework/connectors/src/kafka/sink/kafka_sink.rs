use std::time::Duration;

use flott_core::{
    Error, ErrorKind, EventTime, Record, Result,
    sink::{DeliveryGuarantee, Settler, Sink, SinkWriter, WriterContext},
};
use serde::Serialize;

use super::{
    at_least_once::AtLeastOnceWriter, check::check, exactly_once::ExactlyOnceWriter,
    record::KafkaRecordBuilder, serializer::Serializer, settings::SinkSettings, settler::KafkaSettler,
};
use crate::format::{EncodeFormat, Json, Raw, Utf8};

/// Writes to a Kafka topic.
///
/// At least once unless told otherwise. Exactly once, output is seen by `read_committed` readers when its checkpoint
/// is complete.
///
/// ```no_run
/// use flott_connectors::kafka::sink::KafkaSink;
///
/// let totals = KafkaSink::<(u64, i64)>::json("localhost:9092", "totals")
///     .key(|total| total.0.to_string())
///     .exactly_once("card-totals");
/// let copies = KafkaSink::with("localhost:9092", "copies", |line: &String, record| {
///     record.key("k").value(line).header("source", "lines");
///     Ok(())
/// });
/// ```
pub struct KafkaSink<T> {
    settings: SinkSettings,
    serializer: Serializer<T>,
}

impl<T: Record + Serialize> KafkaSink<T> {
    /// Values are JSON.
    pub fn json(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self::format(brokers, topic, Json)
    }
}

impl<T: Record + AsRef<str>> KafkaSink<T> {
    /// Values are UTF-8 text.
    pub fn utf8(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self::format(brokers, topic, Utf8)
    }
}

impl<T: Record + AsRef<[u8]>> KafkaSink<T> {
    /// Values as they are.
    pub fn bytes(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self::format(brokers, topic, Raw)
    }
}

impl<T: Record> KafkaSink<T> {
    /// Values in any format.
    pub fn format(
        brokers: impl Into<String>,
        topic: impl Into<String>,
        format: impl EncodeFormat<T>,
    ) -> Self {
        Self { settings: SinkSettings::new(brokers, topic), serializer: Serializer::of_value(format) }
    }

    /// Makes whole Kafka records: key, value, headers, timestamp and partition.
    pub fn with(
        brokers: impl Into<String>,
        topic: impl Into<String>,
        serialize: impl Fn(&T, &mut KafkaRecordBuilder<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { settings: SinkSettings::new(brokers, topic), serializer: Serializer::new(serialize) }
    }

    /// The key of each record. Records of one key go to one partition, the same as with Kafka's own clients.
    #[must_use]
    pub fn key<K: AsRef<[u8]>>(mut self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Self {
        self.serializer.set_key(key);
        self
    }

    /// The timestamp of each record; without it, the time of writing. Costs some speed: librdkafka takes records with
    /// timestamps or headers one by one.
    #[must_use]
    pub fn timestamp(mut self, time: impl Fn(&T) -> EventTime + Send + Sync + 'static) -> Self {
        self.serializer.set_timestamp(time);
        self
    }

    /// Sets a property of librdkafka: security, tuning.
    #[must_use]
    pub fn property(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.properties.set(key, value);
        self
    }

    /// Sets properties of librdkafka.
    #[must_use]
    pub fn properties<K: Into<String>, V: Into<String>>(
        self,
        properties: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        properties.into_iter().fold(self, |sink, (key, value)| sink.property(key, value))
    }

    /// Nothing is lost; output since the last checkpoint may be repeated after a failure. The default.
    #[must_use]
    pub fn at_least_once(mut self) -> Self {
        self.settings.prefix = None;
        self
    }

    /// Nothing is lost and nothing is repeated. Transactional ids begin with `prefix`, which must differ between jobs
    /// and stay the same over the life of a job.
    #[must_use]
    pub fn exactly_once(mut self, prefix: impl Into<String>) -> Self {
        self.settings.prefix = Some(prefix.into());
        self
    }

    /// After how long brokers abort a transaction; bounds how long all JobManagers may be away without loss. The
    /// longest that brokers allow unless told otherwise, and at most 15 minutes. Half of it must
    /// hold interval and pause of checkpoints and two checkpoints of a second: see
    /// [`TransactionBudget`](flott_core::TransactionBudget). A checkpoint fails when it takes about a quarter as long.
    #[must_use]
    pub fn transaction_timeout(mut self, timeout: Duration) -> Self {
        self.settings.transaction_timeout = Some(timeout);
        self
    }
}

impl<T: Record> Sink for KafkaSink<T> {
    type In = T;

    fn writer(&self, context: &WriterContext) -> Result<Box<dyn SinkWriter<In = T>>> {
        let (settings, serializer) = (&self.settings, self.serializer.clone());
        Ok(match &settings.prefix {
            None => Box::new(AtLeastOnceWriter::new(settings, serializer)?),
            Some(prefix) => Box::new(ExactlyOnceWriter::new(settings, prefix, serializer, context)?),
        })
    }

    fn settler(&self) -> Result<Option<Box<dyn Settler>>> {
        let Some(prefix) = self.settings.prefix.clone() else { return Ok(None) };
        Ok(Some(Box::new(KafkaSettler::new(self.settings.clone(), prefix)?)))
    }

    fn guarantee(&self) -> DeliveryGuarantee {
        match self.settings.prefix {
            None => DeliveryGuarantee::AtLeastOnce,
            Some(_) => DeliveryGuarantee::ExactlyOnce,
        }
    }

    fn description(&self) -> String {
        format!("Kafka topic {}", self.settings.topic)
    }

    fn check(&self, checkpoint_interval_ms: u64) -> Result<()> {
        if self.settings.topic.is_empty() {
            return Err(Error::new(ErrorKind::Settings, "a Kafka sink needs the name of a topic"));
        }
        check(&self.settings, Duration::from_millis(checkpoint_interval_ms))
    }
}
