//! What several tests of this crate need.

use flott_core::record::{DecodeError, Record, Schema};

/// A seeded generator: SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        flott_core::hash::word(self.0) % limit
    }
}

/// A key whose hash is always the same, and the worst one for a table.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Clash(pub(crate) u64);

impl Record for Clash {
    const FIXED_SIZE: Option<usize> = None;
    fn schema() -> Schema {
        Schema::primitive("Clash")
    }
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        u64::decode(input).map(Self)
    }
    fn duplicate(&self) -> Self {
        Self(self.0)
    }
    fn key_hash(&self) -> u64 {
        0xFFFF_FFFF
    }
}
