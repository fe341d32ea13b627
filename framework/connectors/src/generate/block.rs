//! A split of a dealt-out sequence, and its encoding.

use std::ops::Range;

use flott_core::{BATCH_RECORDS_MAX, Error, ErrorKind, Record, Result, format::Format, source::Split};

const BLOCK: u64 = BATCH_RECORDS_MAX as u64;
const FORMAT: Format = Format::first("split of a generating source");

/// Blocks `index`, `index + stride`, … of the numbers below `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlockSplit {
    index: u32,
    stride: u32,
    end: u64,
    /// The next number; at or past `end` when there is none.
    next: u64,
}

impl BlockSplit {
    pub(super) fn new(index: u32, stride: u32, end: u64) -> Self {
        Self { index, stride, end, next: u64::from(index).saturating_mul(BLOCK) }
    }

    pub(super) fn id(index: u32) -> String {
        format!("block-{index:05}")
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn is_ended(&self) -> bool {
        self.next >= self.end
    }

    /// Takes at most `records_max` numbers, without leaving the block.
    pub(super) fn take(&mut self, records_max: u64) -> Range<u64> {
        let start = self.next;
        let block_end = (start / BLOCK + 1).saturating_mul(BLOCK);
        let end = block_end.min(self.end).min(start.saturating_add(records_max)).max(start);
        let skip = u64::from(self.stride - 1).saturating_mul(BLOCK);
        self.next = if end == block_end { end.saturating_add(skip) } else { end };
        start..end
    }

    pub(super) fn encode(&self) -> Split {
        let mut state = Vec::new();
        u8::try_from(FORMAT.newest).expect("formats are few").encode(&mut state);
        (self.index, self.stride, self.end, self.next).encode(&mut state);
        Split { id: Self::id(self.index), state }
    }

    /// Reads what [`Self::encode`] wrote, by the rule of [`flott_core::format`].
    pub(super) fn decode(split: &Split) -> Result<Self> {
        let invalid = |what: &str| {
            let text = format!("split {}: {what}; the checkpoint was written by another source", split.id);
            Error::new(ErrorKind::State, text)
        };
        let mut input = &split.state[..];
        let format = u8::decode(&mut input).map_err(|error| invalid(&error.to_string()))?;
        FORMAT.check(format.into()).map_err(|error| error.context(&split.id))?;
        let (index, stride, end, next) =
            <(u32, u32, u64, u64)>::decode(&mut input).map_err(|error| invalid(&error.to_string()))?;
        if stride == 0 || index >= stride || next < u64::from(index).saturating_mul(BLOCK) {
            return Err(invalid("impossible position"));
        }
        Ok(Self { index, stride, end, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::golden;

    #[test]
    fn golden_splits_stay_readable() {
        let mut split = BlockSplit::new(2, 12, 1_000_000);
        split.take(100);
        let state = golden("generate-split-v1.bin", &split.encode().state);
        assert_eq!(BlockSplit::decode(&Split { id: "block-00002".into(), state }).unwrap(), split);
    }

    #[test]
    fn what_later_versions_append_is_ignored() {
        let split = BlockSplit::new(0, 2, 9);
        let mut later = split.encode();
        later.state.push(7);
        assert_eq!(BlockSplit::decode(&later).unwrap(), split);
    }

    #[test]
    fn splits_deal_out_every_number_once_and_in_order() {
        let end = 5 * BLOCK + 7;
        let mut seen = vec![0u8; usize::try_from(end).unwrap()];
        for index in 0..3 {
            let mut split = BlockSplit::new(index, 3, end);
            let mut last = None;
            while !split.is_ended() {
                for number in split.take(100) {
                    assert!(last < Some(number));
                    last = Some(number);
                    seen[usize::try_from(number).unwrap()] += 1;
                }
                split = BlockSplit::decode(&split.encode()).unwrap();
            }
        }
        assert!(seen.iter().all(|&count| count == 1));
    }

    #[test]
    fn an_endless_split_does_not_overflow() {
        let mut split = BlockSplit { index: 0, stride: 2, end: u64::MAX, next: u64::MAX - 3 };
        assert_eq!(split.take(1000).count(), 3);
        assert!(split.is_ended());
    }

    #[test]
    fn foreign_states_are_refused() {
        for state in [vec![], vec![9; 25], vec![1; 24], vec![0; 25]] {
            let split = Split { id: "x".into(), state };
            assert_eq!(BlockSplit::decode(&split).unwrap_err().kind(), ErrorKind::State);
        }
    }
}
