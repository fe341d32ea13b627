//! A partition of a topic, with how far it has been read.

use flott_core::{
    Error, ErrorKind, Record, Result,
    format::{Format, appended},
    source::Split,
};

const FORMAT: Format = Format::first("split of a Kafka source");

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
    /// Id of the topic that the offsets are of; `None` in checkpoints of earlier versions and where brokers do not tell.
    pub(super) topic_id: Option<u128>,
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
        u8::try_from(FORMAT.newest).expect("formats are few").encode(&mut state);
        self.topic.encode(&mut state);
        (self.partition, self.next, self.stop).encode(&mut state);
        let halves = self.topic_id.map(|id| ((id >> 64) as u64, id as u64));
        halves.encode(&mut state);
        Split { id: Self::id(&self.topic, self.partition), state }
    }

    /// Reads what [`Self::encode`] wrote, by the rule of [`flott_core::format`].
    pub(super) fn decode(split: &Split) -> Result<Self> {
        let invalid = |why: &str| {
            let text = format!("split {}: {why}; the checkpoint was written by another source", split.id);
            Error::new(ErrorKind::State, text)
        };
        let mut input = &split.state[..];
        let format = u8::decode(&mut input).map_err(|error| invalid(&error.to_string()))?;
        FORMAT.check(format.into()).map_err(|error| error.context(&split.id))?;
        let decoded = <(String, i32, i64, Option<i64>)>::decode(&mut input);
        let (topic, partition, next, stop) = decoded.map_err(|error| invalid(&error.to_string()))?;
        let halves: Option<(u64, u64)> = appended(&mut input).map_err(|error| invalid(&error.to_string()))?;
        let topic_id = halves.map(|(high, low)| u128::from(high) << 64 | u128::from(low));
        let is_possible =
            partition >= 0 && next >= BEGINNING && next != -1 && stop.is_none_or(|stop| stop >= 0);
        if !is_possible || split.id != Self::id(&topic, partition) {
            return Err(invalid("impossible position"));
        }
        Ok(Self { topic, partition, next, stop, topic_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::golden;

    fn split() -> PartitionSplit {
        PartitionSplit { topic: "payments".into(), partition: 3, next: 17, stop: Some(20), topic_id: None }
    }

    #[test]
    fn golden_splits_stay_readable() {
        let state = golden("kafka-split-v1.bin", &split().encode().state);
        assert_eq!(PartitionSplit::decode(&Split { id: "payments-3".into(), state }).unwrap(), split());
    }

    #[test]
    fn damage_is_refused_and_what_later_versions_append_is_not() {
        let split = split();
        let encoded = split.encode();
        assert_eq!(encoded.id, "payments-3");
        assert_eq!(PartitionSplit::decode(&encoded).unwrap(), split);
        let with_id = PartitionSplit { topic_id: Some(u128::MAX - 1), ..split.clone() };
        assert_eq!(PartitionSplit::decode(&with_id.encode()).unwrap(), with_id);
        // Without the field that was appended it is a split of an earlier version.
        for cut in 0..encoded.state.len() - 1 {
            let cut = Split { id: encoded.id.clone(), state: encoded.state[..cut].to_vec() };
            assert_eq!(PartitionSplit::decode(&cut).unwrap_err().kind(), ErrorKind::State);
        }
        let later = [&encoded.state[..], b"later"].concat();
        let later = Split { id: encoded.id.clone(), state: later };
        assert_eq!(PartitionSplit::decode(&later).unwrap(), split);
        let newer = Split { id: encoded.id.clone(), state: vec![2, 0xFF] };
        let error = PartitionSplit::decode(&newer).unwrap_err().to_string();
        assert!(error.contains("written by a newer Flott: format 2"), "{error}");
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
        let mut split = PartitionSplit {
            topic: "t".into(),
            partition: 0,
            next: BEGINNING,
            stop: Some(0),
            topic_id: None,
        };
        assert!(!split.is_ended());
        split.next = 0;
        assert!(split.is_ended());
        split.stop = None;
        assert!(!split.is_ended());
    }
}
