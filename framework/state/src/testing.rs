//! What several tests of this crate need.

use flott_core::{
    hash::HashSeed,
    record::{DecodeError, Record, Schema},
};

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
    fn table_hash(&self, _seed: HashSeed, _scratch: &mut Vec<u8>) -> u64 {
        0xFFFF_FFFF
    }
}
