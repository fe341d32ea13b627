use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

use crate::{hash::HashSeed, record::Key};

/// The keys of a batch, in record order, and their hashes.
#[derive(Debug)]
pub struct KeyBatch<K> {
    /// The keys.
    pub keys: Vec<K>,
    /// `keys[i].key_hash()`.
    pub hashes: Vec<u64>,
    /// Made by the first table that asks, for all tables of the operator.
    table_hashes: OnceLock<Vec<u64>>,
}

impl<K> Default for KeyBatch<K> {
    fn default() -> Self {
        Self { keys: Vec::new(), hashes: Vec::new(), table_hashes: OnceLock::new() }
    }
}

impl<K: Key> KeyBatch<K> {
    /// Adds a key.
    #[inline]
    pub fn push(&mut self, key: K) {
        self.hashes.push(key.key_hash());
        self.keys.push(key);
    }

    /// `keys[i].table_hash(seed)`. All tables that share the batch have the same seed.
    #[inline]
    pub fn table_hashes(&self, seed: HashSeed) -> &[u64] {
        self.table_hashes.get_or_init(|| {
            let mut scratch = Vec::new();
            self.keys.iter().map(|key| key.table_hash(seed, &mut scratch)).collect()
        })
    }

    /// Removes all keys, keeps the memory.
    pub fn clear(&mut self) {
        self.table_hashes.take();
        self.keys.clear();
        self.hashes.clear();
    }
}

/// An `Arc<KeyBatch<K>>` whose key type the holder does not name.
pub type SharedKeys = Arc<dyn Any + Send + Sync>;
