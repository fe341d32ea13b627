//! A partition of a topic, with how far it has been read.

use flott_core::{Error, ErrorKind, Record, Result, source::Split};

const FORMAT: u8 = 1;

/// Reads from the first record that is still there.
pub(super) const BEGINNING: i64 = -2;

/// A split of a Kafka source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartitionSplit {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// Offset of the next record, or [`BEGINNING`].
    pub(super) next: i64,
    /// Where to end: the first offset that is not read.
    pub(super) stop: Option<i64>,
}

impl PartitionSplit {
    pub(super) fn id(topic: &str, partition: i32) -> String {
        format!("{topic}-{partition}")
    }

    pub(super) fn is_ended(&self) -> bool {
        self.stop.is_some_and(|stop| self.next >= stop)
    }

    pub(super) fn encode(&self) -> Split {
        let mut state = Vec::new();
        FORMAT.encode(&mut state);
        self.topic.encode(&mut state);
        (self.partition, self.next, self.stop).encode(&mut state);
        Split { id: Self::id(&self.topic, self.partition), state }
    }

    pub(super) fn decode(split: &Split) -> Result<Self> {
        let invalid = |why: &str| {
            let text = format!("split {}: {why}; the checkpoint was written by another source", split.id);
            Error::new(ErrorKind::State, text)
        };
        let mut input = &split.state[..];
        let decoded = <(u8, String, i32, i64, Option<i64>)>::decode(&mut input);
        let (format, topic, partition, next, stop) = decoded.map_err(|error| invalid(&error.to_string()))?;
        if format != FORMAT || !input.is_empty() {
            return Err(invalid("unknown format"));
        }
        let is_possible =
            partition >= 0 && next >= BEGINNING && next != -1 && stop.is_none_or(|stop| stop >= 0);
        if !is_possible || split.id != Self::id(&topic, partition) {
            return Err(invalid("impossible position"));
        }
        Ok(Self { topic, partition, next, stop })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_and_damage_is_refused() {
        let split = PartitionSplit { topic: "payments".into(), partition: 3, next: 17, stop: Some(20) };
        let encoded = split.encode();
        assert_eq!(encoded.id, "payments-3");
        assert_eq!(PartitionSplit::decode(&encoded).unwrap(), split);
        for cut in 0..encoded.state.len() {
            let cut = Split { id: encoded.id.clone(), state: encoded.state[..cut].to_vec() };
            assert_eq!(PartitionSplit::decode(&cut).unwrap_err().kind(), ErrorKind::State);
        }
        for damaged in [
            PartitionSplit { partition: -1, ..split.clone() },
            PartitionSplit { next: -1, ..split.clone() },
            PartitionSplit { next: -1001, ..split.clone() },
            PartitionSplit { stop: Some(-5), ..split.clone() },
        ] {
            assert!(PartitionSplit::decode(&damaged.encode()).is_err(), "{damaged:?}");
        }
        let renamed = Split { id: "payments-4".into(), ..encoded };
        assert!(PartitionSplit::decode(&renamed).is_err());
    }

    #[test]
    fn it_ends_at_its_stop_offset() {
        let mut split = PartitionSplit { topic: "t".into(), partition: 0, next: BEGINNING, stop: Some(0) };
        assert!(!split.is_ended());
        split.next = 0;
        assert!(split.is_ended());
        split.stop = None;
        assert!(!split.is_ended());
    }
}
