//! Encoded records that wait for their producer.

use std::ops::Range;

use flott_core::MonotonicTime;

use crate::kafka::native::Outgoing;

/// Encoded records that wait for the producer, before the task stalls.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// What the fields of a record take beside key, value and headers, at most: librdkafka reckons with it, too.
const RECORD_OVERHEAD: usize = 36;
/// The same of a header: two lengths.
const HEADER_OVERHEAD: usize = 10;

/// Encoded records, one after the other in one buffer.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
    pub(super) headers: Vec<Header>,
    /// Entries that the producer has taken.
    sent: usize,
    /// When its lane first saw that there was something to send.
    pub(super) waiting_since: Option<MonotonicTime>,
}

/// Where a part of a record is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    fn len(self) -> usize {
        self.end - self.start
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) key: Option<Span>,
    pub(super) value: Option<Span>,
    pub(super) partition: Option<i32>,
    pub(super) timestamp: Option<i64>,
    pub(super) headers: Range<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) name: Span,
    pub(super) value: Span,
}

impl Entry {
    /// Whether it can go in a batch: librdkafka's batches have neither headers nor timestamps.
    fn is_plain(&self) -> bool {
        self.timestamp.is_none() && self.headers.is_empty()
    }
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.entries.len()
    }

    /// Entries that wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.sent
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Returns `true` if it takes another batch.
    pub(super) fn has_room(&self) -> bool {
        self.bytes() < BYTES_MAX
    }

    /// How many of the next entries a request takes that has room for so many bytes: at least one, however large.
    pub(super) fn fitting(&self, records_max: usize, bytes_max: usize) -> usize {
        let next = self.entries[self.sent..].iter().take(records_max);
        let sizes = next.scan(0, |sum, entry| {
            *sum += self.request_bytes(entry);
            Some(*sum)
        });
        sizes.take_while(|&sum| sum <= bytes_max).count().max(1)
    }

    /// What an entry takes of a request, at most.
    fn request_bytes(&self, entry: &Entry) -> usize {
        let parts = [entry.key, entry.value].into_iter().flatten();
        let headers = self.headers[entry.headers.clone()].iter();
        let headers = headers.map(|header| HEADER_OVERHEAD + header.name.len() + header.value.len());
        RECORD_OVERHEAD + parts.map(Span::len).sum::<usize>() + headers.sum::<usize>()
    }

    pub(super) fn copy(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span { start, end: self.bytes.len() }
    }

    pub(super) fn at(&self, span: Span) -> &[u8] {
        &self.bytes[span.start..span.end]
    }

    /// The next entries that can go in one batch, at most `records_max`; empty when the next one cannot.
    pub(super) fn plain(&self, records_max: usize) -> impl Iterator<Item = Outgoing<'_>> {
        let next = self.entries[self.sent..].iter().take(records_max).take_while(|entry| entry.is_plain());
        next.map(|entry| Outgoing {
            key: entry.key.map(|span| self.at(span)),
            value: entry.value.map(|span| self.at(span)),
            partition: entry.partition,
        })
    }

    /// The next entry.
    pub(super) fn first(&self) -> Option<&Entry> {
        self.entries.get(self.sent)
    }

    /// The producer has taken so many.
    pub(super) fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.is_empty() {
            self.bytes.clear();
            self.entries.clear();
            self.headers.clear();
            self.sent = 0;
            self.waiting_since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use flott_core::EventTime;

    use super::super::record::KafkaRecordBuilder;
    use super::*;

    #[test]
    fn plain_records_go_in_batches_and_others_alone() {
        let mut outbox = Outbox::default();
        for number in 0..4u8 {
            let mut record = KafkaRecordBuilder::new(&mut outbox);
            record.key([number]).value("v");
            if number == 2 {
                record.timestamp(EventTime(5)).header("h", "x");
            }
            record.finish();
        }
        let keys =
            |outbox: &Outbox| outbox.plain(10).map(|record| record.key.unwrap()[0]).collect::<Vec<_>>();
        assert_eq!(keys(&outbox), [0, 1]);
        outbox.advance(2);
        assert!(keys(&outbox).is_empty());
        let special = outbox.first().unwrap();
        assert_eq!((special.timestamp, special.headers.len()), (Some(5), 1));
        outbox.advance(1);
        assert_eq!(keys(&outbox), [3]);
        outbox.advance(1);
        assert!(outbox.is_empty() && outbox.bytes() == 0);
    }

    #[test]
    fn a_request_takes_as_many_as_fit_and_at_least_one() {
        let mut outbox = Outbox::default();
        for value in ["", "four", "a longer one"] {
            let mut record = KafkaRecordBuilder::new(&mut outbox);
            record.key("k").value(value);
            record.finish();
        }
        let mut record = KafkaRecordBuilder::new(&mut outbox);
        record.header("name", "value");
        record.finish();
        let ends = [37, 78, 127, 182];
        for (index, end) in ends.into_iter().enumerate() {
            assert_eq!(outbox.fitting(10, end), index + 1);
            assert_eq!(outbox.fitting(10, end - 1), index.max(1));
        }
        assert_eq!(outbox.fitting(2, 1000), 2);
        outbox.advance(2);
        assert_eq!(outbox.fitting(10, 1000), 2);
    }
}
