//! How a record of the job becomes a Kafka record.

use std::sync::Arc;

use flott_core::{Batch, EventTime, Result};

use super::{outbox::Outbox, record::KafkaRecordBuilder};
use crate::format::EncodeFormat;

type Part<T> = Arc<dyn Fn(&T, &mut KafkaRecordBuilder<'_>) -> Result<()> + Send + Sync>;

/// The user's functions.
pub(super) struct Serializer<T> {
    body: Part<T>,
    key: Option<Part<T>>,
    timestamp: Option<Part<T>>,
}

impl<T> Clone for Serializer<T> {
    fn clone(&self) -> Self {
        Self { body: Arc::clone(&self.body), key: self.key.clone(), timestamp: self.timestamp.clone() }
    }
}

impl<T: 'static> Serializer<T> {
    pub(super) fn new(
        body: impl Fn(&T, &mut KafkaRecordBuilder<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { body: Arc::new(body), key: None, timestamp: None }
    }

    pub(super) fn of_value(format: impl EncodeFormat<T>) -> Self {
        Self::new(move |record, builder| builder.value_with(|bytes| format.encode(record, bytes)).map(drop))
    }

    pub(super) fn set_key<K: AsRef<[u8]>>(&mut self, key: impl Fn(&T) -> K + Send + Sync + 'static) {
        self.key = Some(Arc::new(move |record, builder| {
            builder.key(key(record));
            Ok(())
        }));
    }

    pub(super) fn set_timestamp(&mut self, time: impl Fn(&T) -> EventTime + Send + Sync + 'static) {
        self.timestamp = Some(Arc::new(move |record, builder| {
            builder.timestamp(time(record));
            Ok(())
        }));
    }

    /// Moves the records of a batch into the outbox.
    pub(super) fn serialize(&self, batch: &mut Batch<T>, outbox: &mut Outbox) -> Result<()> {
        for record in batch.records.drain(..) {
            let mut builder = KafkaRecordBuilder::new(outbox);
            if let Some(key) = &self.key {
                key(&record, &mut builder)?;
            }
            if let Some(timestamp) = &self.timestamp {
                timestamp(&record, &mut builder)?;
            }
            (self.body)(&record, &mut builder)?;
            builder.finish();
        }
        batch.clear();
        Ok(())
    }
}
