use flott_core::{EventTime, Result};

use super::outbox::{Entry, Header, Outbox, Span};

/// Takes the parts of a Kafka record. What is not given stays out: no value makes a tombstone, no key lets the record
/// go to any partition, no timestamp means now.
pub struct KafkaRecordBuilder<'a> {
    outbox: &'a mut Outbox,
    entry: Entry,
}

impl<'a> KafkaRecordBuilder<'a> {
    pub(super) fn new(outbox: &'a mut Outbox) -> Self {
        let headers = outbox.headers.len();
        Self { outbox, entry: Entry { headers: headers..headers, ..Entry::default() } }
    }

    /// The key.
    pub fn key(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        self.entry.key = Some(self.outbox.copy(key.as_ref()));
        self
    }

    /// The value.
    pub fn value(&mut self, value: impl AsRef<[u8]>) -> &mut Self {
        self.entry.value = Some(self.outbox.copy(value.as_ref()));
        self
    }

    /// The value, appended to a buffer without a copy in between.
    ///
    /// # Errors
    /// That of `write`.
    pub fn value_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<&mut Self> {
        let start = self.outbox.bytes.len();
        write(&mut self.outbox.bytes)?;
        self.entry.value = Some(Span { start, end: self.outbox.bytes.len() });
        Ok(self)
    }

    /// Adds a header.
    pub fn header(&mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> &mut Self {
        let name = self.outbox.copy(name.as_ref().as_bytes());
        let value = self.outbox.copy(value.as_ref());
        self.outbox.headers.push(Header { name, value });
        self.entry.headers.end = self.outbox.headers.len();
        self
    }

    /// The record's timestamp.
    pub fn timestamp(&mut self, time: EventTime) -> &mut Self {
        self.entry.timestamp = Some(time.as_millis());
        self
    }

    /// The partition, instead of one chosen by the key.
    pub fn partition(&mut self, partition: i32) -> &mut Self {
        self.entry.partition = Some(partition);
        self
    }

    pub(super) fn finish(self) {
        self.outbox.entries.push(self.entry);
    }
}
