//! What the tests of this crate share.

use flott_core::{MonotonicTime, SubtaskIndex, VertexId, task::TaskId};

/// A small seeded random number generator (xorshift64*).
pub(crate) struct Xorshift(u64);

impl Xorshift {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from((self.next() >> 32) % limit as u64).unwrap()
    }

    pub(crate) fn is_hit(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

pub(crate) fn at(millis: u64) -> MonotonicTime {
    MonotonicTime::from_millis(millis)
}

pub(crate) fn task(vertex: u32, subtask: u32) -> TaskId {
    TaskId::new(VertexId(vertex), SubtaskIndex(subtask))
}
