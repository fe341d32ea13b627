//! The keys of the batch at hand, shared with state tables.

use std::{ops::Range, sync::Arc};

use flott_core::{
    Key,
    state::{KeyBatch, SharedKeys},
};

/// Keys whose state is brought nearer at a time. Far enough ahead to hide memory latency, few enough to stay in cache.
const PREFETCH_KEYS: usize = 64;

/// The keys of a batch. Their memory is used again once every table has let go of them.
pub(crate) struct BatchKeys<K>(Arc<KeyBatch<K>>);

impl<K: Key> Default for BatchKeys<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Key> BatchKeys<K> {
    /// Takes the keys of a batch and hashes them.
    pub(crate) fn fill(&mut self, keys: impl Iterator<Item = K>) {
        if Arc::get_mut(&mut self.0).is_none() {
            self.0 = Arc::default();
        }
        let batch = Arc::get_mut(&mut self.0).expect("nobody else has a new Arc");
        batch.clear();
        batch.keys.extend(keys);
        batch.hashes.extend(batch.keys.iter().map(K::key_hash));
    }

    /// For [`begin_batch`](flott_core::state::KeyedState::begin_batch).
    pub(crate) fn share(&self) -> SharedKeys {
        Arc::clone(&self.0) as SharedKeys
    }

    pub(crate) fn as_slice(&self) -> &[K] {
        &self.0.keys
    }
}

/// The positions of a batch of `len` records in parts that are prefetched together.
pub(crate) fn parts(len: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(PREFETCH_KEYS).map(move |start| start..len.min(start + PREFETCH_KEYS))
}

/// The positions to prefetch before the record at position `at` of `len` is processed, if it is time to.
#[inline]
pub(crate) fn prefetch_range(at: usize, len: usize) -> Option<Range<usize>> {
    if !at.is_multiple_of(PREFETCH_KEYS) {
        return None;
    }
    let start = if at == 0 { 0 } else { len.min(at + PREFETCH_KEYS) };
    let range = start..len.min(at + 2 * PREFETCH_KEYS);
    (!range.is_empty()).then_some(range)
}
