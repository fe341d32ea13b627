//! How a Kafka record becomes a record of the job.

use std::sync::Arc;

use flott_core::{Error, Result, panic};

use crate::{format::DecodeFormat, kafka::message::KafkaMessage};

/// The user's decoder.
pub(super) struct Decoder<T>(Arc<dyn Fn(&KafkaMessage<'_>) -> Result<T> + Send + Sync>);

impl<T> Clone for Decoder<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: 'static> Decoder<T> {
    pub(super) fn new(decode: impl Fn(&KafkaMessage<'_>) -> Result<T> + Send + Sync + 'static) -> Self {
        Self(Arc::new(decode))
    }

    /// Decodes the value alone.
    pub(super) fn of_value(format: impl DecodeFormat<T>) -> Self {
        Self::new(move |message| match message.value {
            Some(value) => format.decode(value),
            None => Err(Error::user("the record has no value (a tombstone)")),
        })
    }

    /// Decodes a record; an error names its place.
    pub(super) fn decode(&self, message: &KafkaMessage<'_>) -> Result<T> {
        panic::catch(|| (self.0)(message)).map_err(|error| {
            let KafkaMessage { topic, partition, offset, .. } = message;
            error.context(format!(
                "topic {topic}, partition {partition}, offset {offset}: cannot decode the record"
            ))
        })
    }
}
