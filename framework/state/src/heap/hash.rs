use flott_core::{
    hash::HashSeed,
    record::{Key, Record},
    state::KeyBatch,
};

/// The two hashes of a key.
#[derive(Clone, Copy)]
pub(super) struct KeyHash {
    /// Chooses the key group.
    pub(super) group: u64,
    /// Chooses the place in a table.
    pub(super) table: u64,
}

impl KeyHash {
    pub(super) fn of<K: Record>(key: &K, seed: HashSeed, scratch: &mut Vec<u8>) -> Self {
        Self { group: key.key_hash(), table: key.table_hash(seed, scratch) }
    }

    /// The hash of the key at a position of a batch.
    #[inline]
    pub(super) fn in_batch<K: Key>(batch: &KeyBatch<K>, at: usize, seed: HashSeed) -> Self {
        let group = batch.hashes[at];
        let table = if K::KEY_HASH_IS_UNIQUE { seed.word(group) } else { batch.table_hashes(seed)[at] };
        Self { group, table }
    }
}
