//! Hash → key group → subtask. The only place that knows.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{id::SubtaskIndex, record::DecodeError};

/// Unit of state assignment: keys with the same group move together when a job is rescaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyGroup(pub u16);

/// Number of key groups of a job, fixed for its life; the parallelism cannot exceed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MaxParallelism(u16);

impl Default for MaxParallelism {
    fn default() -> Self {
        Self(1024)
    }
}

impl MaxParallelism {
    /// Checks and wraps the number.
    ///
    /// # Errors
    /// Outside 1 ..= 32768, as in Flink.
    pub fn new(groups: u32) -> Result<Self, String> {
        match u16::try_from(groups) {
            Ok(groups @ 1..=32768) => Ok(Self(groups)),
            _ => Err(format!("max parallelism {groups} is outside 1..=32768")),
        }
    }

    /// The number of key groups.
    #[must_use]
    #[inline]
    pub fn groups(self) -> usize {
        usize::from(self.0)
    }

    /// The key group of a key with this hash. Uses the upper 16 bits; tables use the others.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the product of two 16-bit numbers, shifted by 16")]
    pub fn key_group(self, key_hash: u64) -> KeyGroup {
        KeyGroup((((key_hash >> 48) * u64::from(self.0)) >> 16) as u16)
    }

    /// The subtask, of `parallelism`, that owns a key group.
    ///
    /// # Panics
    /// When `parallelism` is zero.
    #[must_use]
    pub fn subtask(self, group: KeyGroup, parallelism: u32) -> SubtaskIndex {
        SubtaskIndex(u32::from(group.0) * parallelism / u32::from(self.0))
    }

    /// The key groups that a subtask, of `parallelism`, owns.
    ///
    /// # Panics
    /// When `parallelism` is zero.
    #[must_use]
    pub fn key_groups(self, subtask: SubtaskIndex, parallelism: u32) -> KeyGroupRange {
        let first_of = |subtask: u32| (subtask * u32::from(self.0)).div_ceil(parallelism);
        KeyGroupRange { start: first_of(subtask.0), end: first_of(subtask.0 + 1) }
    }
}

/// Consecutive key groups, `start` inclusive, `end` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyGroupRange {
    /// First group.
    pub start: u32,
    /// One past the last group.
    pub end: u32,
}

impl KeyGroupRange {
    /// Number of groups.
    #[must_use]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether `group` is one of them.
    #[must_use]
    pub fn contains(self, group: KeyGroup) -> bool {
        self.as_range().contains(&u32::from(group.0))
    }

    /// The numbers of the groups.
    #[must_use]
    pub fn as_range(self) -> Range<u32> {
        self.start..self.end
    }
}

/// The keys of a subtask: its key groups, among all those of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpace {
    /// The subtask's key groups.
    pub groups: KeyGroupRange,
    /// The number of key groups of the job.
    pub max_parallelism: MaxParallelism,
}

impl KeySpace {
    /// The number of the key group of a key with this hash.
    #[must_use]
    #[inline]
    pub fn group(self, key_hash: u64) -> u32 {
        u32::from(self.max_parallelism.key_group(key_hash).0)
    }

    /// Makes sure that a restored key with this hash belongs to the key group that it was found in, and to the subtask.
    ///
    /// # Errors
    /// When it does not.
    pub fn check(self, key_hash: u64, group: KeyGroup) -> Result<(), DecodeError> {
        if self.max_parallelism.key_group(key_hash) == group && self.groups.contains(group) {
            Ok(())
        } else {
            Err(DecodeError::Invalid("a key lies in a key group that is not its own"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_owners_agree_for_every_parallelism() {
        for groups in [1, 7, 128, 1024, 32768] {
            let max = MaxParallelism::new(groups).unwrap();
            for parallelism in [1, 2, 3, 7, 100].into_iter().filter(|&p| p <= groups) {
                let mut next = 0;
                for subtask in 0..parallelism {
                    let range = max.key_groups(SubtaskIndex(subtask), parallelism);
                    assert_eq!(range.start, next);
                    next = range.end;
                    for group in range.as_range() {
                        let group = KeyGroup(u16::try_from(group).unwrap());
                        assert_eq!(max.subtask(group, parallelism), SubtaskIndex(subtask));
                    }
                }
                assert_eq!(next, groups);
            }
        }
    }

    #[test]
    fn hashes_reach_every_group_evenly() {
        let max = MaxParallelism::default();
        let mut counts = vec![0u32; max.groups()];
        for key in 0..1_000_000u64 {
            counts[usize::from(max.key_group(crate::hash::word(key)).0)] += 1;
        }
        let (low, high) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*low > 800 && *high < 1200, "{low}..{high} keys per group");
    }

    /// Frozen for ever, as the key hash.
    #[test]
    fn key_groups_are_frozen() {
        let hashes =
            [0, 1 << 48, 0x8000_0000_0000_0000, 0x1234_5678_9ABC_DEF0, u64::MAX, crate::hash::word(42)];
        let groups = [1, 7, 128, 1024, 32768].map(|groups| {
            let max = MaxParallelism::new(groups).unwrap();
            hashes.map(|hash| max.key_group(hash).0)
        });
        assert_eq!(groups, FROZEN);
    }

    const FROZEN: [[u16; 6]; 5] = [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 3, 0, 6, 5],
        [0, 0, 64, 9, 127, 94],
        [0, 0, 512, 72, 1023, 759],
        [0, 0, 16384, 2330, 32767, 24299],
    ];
}
