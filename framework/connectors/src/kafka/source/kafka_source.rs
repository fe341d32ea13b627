use std::{sync::Arc, time::Duration};

use flott_core::{
    Error, ErrorKind, Record, Result,
    source::{ReaderContext, Source, SourceReader, SplitEnumerator},
};
use serde::de::DeserializeOwned;

use super::{
    BoundedAt, OffsetReset, Poison, StartOffsets, decoder::Decoder, enumerator::KafkaEnumerator,
    reader::KafkaReader, settings::SourceSettings,
};
use crate::{
    format::{DecodeFormat, Json, Raw, Utf8},
    kafka::message::KafkaMessage,
};

/// Reads a Kafka topic.
///
/// Only committed records are read. Offsets live in the checkpoint, so that the job goes on exactly where it was. The
/// event time of a record is its own, if its type has one, else Kafka's timestamp.
///
/// ```no_run
/// use flott_connectors::kafka::source::{BoundedAt, KafkaSource, StartOffsets};
///
/// let lines = KafkaSource::utf8("localhost:9092", "lines")
///     .start(StartOffsets::Latest)
///     .group("my-job");
/// let keys = KafkaSource::with("localhost:9092", "payments", |message| {
///     Ok((message.partition, message.key.unwrap_or_default().to_vec()))
/// })
/// .bounded(BoundedAt::Latest);
/// ```
pub struct KafkaSource<T> {
    settings: SourceSettings,
    decoder: Decoder<T>,
}

impl KafkaSource<()> {
    /// Values are JSON: `KafkaSource::json::<Payment>("localhost:9092", "payments")`.
    pub fn json<T: Record + DeserializeOwned>(
        brokers: impl Into<String>,
        topic: impl Into<String>,
    ) -> KafkaSource<T> {
        KafkaSource::format(brokers, topic, Json)
    }
}

impl KafkaSource<String> {
    /// Values are UTF-8 text.
    pub fn utf8(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self::format(brokers, topic, Utf8)
    }
}

impl KafkaSource<Vec<u8>> {
    /// Values as they are.
    pub fn bytes(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self::format(brokers, topic, Raw)
    }
}

impl<T: Record> KafkaSource<T> {
    /// Values in any format.
    pub fn format(
        brokers: impl Into<String>,
        topic: impl Into<String>,
        format: impl DecodeFormat<T>,
    ) -> Self {
        Self { settings: SourceSettings::new(brokers, topic), decoder: Decoder::of_value(format) }
    }

    /// Decodes whole Kafka records: key, value, headers, timestamp and place.
    pub fn with(
        brokers: impl Into<String>,
        topic: impl Into<String>,
        decode: impl Fn(&KafkaMessage<'_>) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        Self { settings: SourceSettings::new(brokers, topic), decoder: Decoder::new(decode) }
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
        properties.into_iter().fold(self, |source, (key, value)| source.property(key, value))
    }

    /// Where to read from when the job has no checkpoint; the earliest records unless told otherwise.
    #[must_use]
    pub fn start(mut self, start: StartOffsets) -> Self {
        self.settings.start = start;
        self
    }

    /// Where to end. Without it the source never does.
    #[must_use]
    pub fn bounded(mut self, at: BoundedAt) -> Self {
        self.settings.bounded = Some(at);
        self
    }

    /// Commits offsets to this group whenever a checkpoint is complete, for monitoring. Nothing is ever read from it
    /// unless [`StartOffsets::Committed`] says so, and a failed commit does not fail the job.
    #[must_use]
    pub fn group(mut self, id: impl Into<String>) -> Self {
        self.settings.group = Some(id.into());
        self
    }

    /// How often to look for new partitions; every minute unless told otherwise, `None` for never.
    #[must_use]
    pub fn discovery_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.settings.discovery_interval = interval.into();
        self
    }

    /// What to do with records that cannot be decoded; fail unless told otherwise.
    #[must_use]
    pub fn on_undecodable(mut self, poison: Poison) -> Self {
        self.settings.poison = poison;
        self
    }

    /// What to do when the next record to read has been deleted; fail unless told otherwise.
    #[must_use]
    pub fn on_missing_offset(mut self, reset: OffsetReset) -> Self {
        self.settings.missing = reset;
        self
    }

    fn check_settings(&self) -> Result<()> {
        if self.settings.topic.is_empty() {
            return Err(Error::new(ErrorKind::Settings, "a Kafka source needs the name of a topic"));
        }
        Ok(())
    }
}

impl<T: Record> Source for KafkaSource<T> {
    type Out = T;

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        self.check_settings()?;
        self.settings.reader_config()?;
        Ok(Box::new(KafkaEnumerator::new(self.settings.clone())?))
    }

    fn reader(&self, context: &ReaderContext) -> Result<Box<dyn SourceReader<Out = T>>> {
        self.check_settings()?;
        let metrics = Arc::clone(&context.metrics);
        Ok(Box::new(KafkaReader::new(self.settings.clone(), self.decoder.clone(), metrics)?))
    }

    fn description(&self) -> String {
        format!("Kafka topic {}", self.settings.topic)
    }
}
