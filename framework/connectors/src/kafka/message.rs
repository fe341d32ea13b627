//! A Kafka record as a source reads it.

use flott_core::EventTime;

use super::native::NativeHeaders;

/// A Kafka record, borrowed from the client's memory.
#[derive(Clone, Copy, Debug)]
pub struct KafkaMessage<'a> {
    /// Topic it comes from.
    pub topic: &'a str,
    /// Partition it comes from.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Time set by its producer or by the broker, as the topic has it.
    pub timestamp: Option<EventTime>,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers.
    pub headers: KafkaHeaders<'a>,
}

/// The headers of a record. They are parsed when they are looked at.
#[derive(Clone, Copy, Debug)]
pub struct KafkaHeaders<'a>(Place<'a>);

#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Native(NativeHeaders<'a>),
    List(&'a [(&'a str, Option<&'a [u8]>)]),
}

impl<'a> KafkaHeaders<'a> {
    pub(super) fn native(headers: NativeHeaders<'a>) -> Self {
        Self(Place::Native(headers))
    }

    /// Headers in a list, for tests of decoders.
    #[must_use]
    pub fn list(headers: &'a [(&'a str, Option<&'a [u8]>)]) -> Self {
        Self(Place::List(headers))
    }

    /// All headers in order. Names that are not UTF-8 are empty.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> {
        (0..).map_while(move |index| match self.0 {
            Place::Native(headers) => headers.at(index),
            Place::List(list) => list.get(index).copied(),
        })
    }

    /// The value of the first header of that name; empty for a header without a value.
    #[must_use]
    pub fn first(self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|header| header.0 == name).map(|header| header.1.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_by_name() {
        let list = [("a", Some(&b"1"[..])), ("b", None), ("a", Some(&b"2"[..]))];
        let headers = KafkaHeaders::list(&list);
        assert_eq!(headers.first("a"), Some(&b"1"[..]));
        assert_eq!(headers.first("b"), Some(&b""[..]));
        assert_eq!(headers.first("c"), None);
        assert_eq!(headers.iter().count(), 3);
    }
}
