use std::cell::RefCell;

use flott_core::{
    hash::HashSeed,
    record::{Key, Record},
};
use hashbrown::HashTable;

use super::{
    freezable::Duplicate,
    processor::{prefetch, prefetch_address},
};

/// A hash table of keys and values that tells where an entry is, so that one look-up serves several accesses.
pub(super) struct Table<K, V> {
    entries: HashTable<Entry<K, V>>,
    /// Address of the tags, as far as we know: a hint for prefetching.
    tags: usize,
}

struct Entry<K, V>(K, V);

impl<K: Record, V: Record> Clone for Entry<K, V> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.duplicate(), self.1.duplicate())
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { entries: HashTable::new(), tags: 0 }
    }
}

impl<K: Record, V: Record> Duplicate for Table<K, V> {
    fn duplicate(&self) -> Self {
        let entries = self.entries.clone();
        let first =
            entries.iter_buckets().next().and_then(|at| Some(tags_behind(entries.get_bucket(at)?, at)));
        Self { entries, tags: first.unwrap_or_default() }
    }
}

/// Where a table has its tags: behind its entries, which lie in descending order. The layout is the hash table's own
/// affair; if it changes, prefetching helps less.
fn tags_behind<E>(entry: &E, at: usize) -> usize {
    std::ptr::from_ref(entry).addr() + (at + 1) * size_of::<E>()
}

/// The hash of an entry that moves.
fn rehash<K: Record, V>(seed: HashSeed) -> impl Fn(&Entry<K, V>) -> u64 {
    let scratch = RefCell::new(Vec::new());
    move |Entry(key, _)| key.table_hash(seed, &mut scratch.borrow_mut())
}

impl<K: Key, V> Table<K, V> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn with_capacity(entries: usize) -> Self {
        Self { entries: HashTable::with_capacity(entries), tags: 0 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|Entry(key, value)| (key, value))
    }

    /// Brings the tags for this hash nearer.
    #[inline]
    pub(super) fn prefetch_tags(&self, hash: u64) {
        let mask = self.entries.num_buckets().wrapping_sub(1);
        #[expect(clippy::cast_possible_truncation, reason = "a position is in the lower bits")]
        prefetch_address(self.tags + (hash as usize & mask));
    }

    /// Where the entry of a key with this hash probably is; brings it nearer, without looking at it.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) -> Option<usize> {
        self.entries.find_bucket_index(hash, |entry| {
            prefetch(entry);
            true
        })
    }

    /// Where the entry of a key is, until an entry is added.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &K) -> Option<usize> {
        self.entries.find_bucket_index(hash, |Entry(found, _)| found == key)
    }

    /// The value of a key, to look at.
    #[inline]
    pub(super) fn find_value(&self, hash: u64, key: &K) -> Option<&V> {
        self.entries.find(hash, |Entry(found, _)| found == key).map(|Entry(_, value)| value)
    }

    /// The value of a key.
    #[inline]
    pub(super) fn find_mut(&mut self, hash: u64, key: &K) -> Option<&mut V> {
        self.entries.find_mut(hash, |Entry(found, _)| found == key).map(|Entry(_, value)| value)
    }

    /// Whether the entry of `key` is there.
    #[inline]
    pub(super) fn is_at(&self, entry: usize, key: &K) -> bool {
        self.entries.get_bucket(entry).is_some_and(|Entry(found, _)| found == key)
    }

    /// The value of an entry, if it is the entry of `key`.
    #[inline]
    pub(super) fn value_at(&self, entry: usize, key: &K) -> Option<&V> {
        let Entry(found, value) = self.entries.get_bucket(entry)?;
        (found == key).then_some(value)
    }

    /// The value of an entry.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    pub(super) fn value_mut(&mut self, entry: usize) -> &mut V {
        let found = self.entries.get_bucket_mut(entry);
        &mut found.expect("it was found there, and no other was added since").1
    }

    /// Adds a key that is not there; returns where.
    pub(super) fn insert(&mut self, hash: u64, key: K, value: V, seed: HashSeed) -> usize {
        let inserted = self.entries.insert_unique(hash, Entry(key, value), rehash(seed));
        let at = inserted.bucket_index();
        self.tags = tags_behind(inserted.get(), at);
        at
    }

    /// Removes a key; returns its value.
    pub(super) fn remove(&mut self, hash: u64, key: &K, seed: HashSeed) -> Option<V> {
        let entry = self.entries.find_entry(hash, |Entry(found, _)| found == key).ok()?;
        let (Entry(_, value), _) = entry.remove();
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to(self.entries.len() * 2, rehash(seed));
        }
        Some(value)
    }

    /// Removes and visits all entries until the visitor returns `false`; keeps the memory.
    pub(super) fn drain(&mut self, visitor: &mut dyn FnMut(K, V) -> bool) -> bool {
        self.entries.drain().all(|Entry(key, value)| visitor(key, value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use flott_core::testkit::Random;

    use crate::testing::Clash;

    const SEED: HashSeed = HashSeed::new(1, 2);

    fn hash<K: Key>(key: &K) -> u64 {
        key.table_hash(SEED, &mut Vec::new())
    }

    fn check(seed: u64, keys: u64, steps: u64, removals: u64) {
        let mut random = Random::new(seed);
        let mut table = Table::default();
        let mut model = BTreeMap::new();
        for step in 0..steps {
            let key = random.below(keys);
            let hash = hash(&key);
            let found = table.find(hash, &key);
            assert_eq!(found.map(|entry| *table.value_mut(entry)), model.get(&key).copied());
            match found {
                Some(entry) if random.below(100) < removals => {
                    assert_eq!(table.remove(hash, &key, SEED), model.remove(&key));
                    assert!(!table.is_at(entry, &key));
                }
                Some(entry) => {
                    assert!(table.is_at(entry, &key));
                    *table.value_mut(entry) = step;
                    model.insert(key, step);
                }
                None => {
                    let entry = table.insert(hash, key, step, SEED);
                    assert!(table.is_at(entry, &key));
                    model.insert(key, step);
                }
            }
        }
        let mut content = BTreeMap::new();
        table.duplicate().drain(&mut |key, value| content.insert(key, value).is_none());
        assert_eq!(content, model);
    }

    #[test]
    fn a_table_agrees_with_a_map() {
        for seed in 0..20 {
            check(seed, 12, 500, 50);
            check(seed, 300, 5_000, 45);
            check(seed, 5_000, 20_000, 5);
        }
    }

    #[test]
    fn keys_with_one_hash_are_told_apart() {
        let mut table = Table::default();
        for key in (0..100).map(Clash) {
            table.insert(hash(&key), key, (), SEED);
        }
        for key in (0..100).step_by(3).map(Clash) {
            assert!(table.remove(hash(&key), &key, SEED).is_some());
        }
        for key in (0..100).map(Clash) {
            assert_eq!(table.find(hash(&key), &key).is_some(), key.0 % 3 != 0);
        }
    }

    #[test]
    fn a_table_that_became_small_gives_memory_back() {
        let mut table = Table::default();
        for key in 0..10_000u64 {
            table.insert(hash(&key), key, (), SEED);
        }
        for key in 0..9_990u64 {
            table.remove(hash(&key), &key, SEED);
        }
        assert!(table.entries.capacity() < 200);
        assert!((9_990..10_000).all(|key| table.find(hash(&key), &key).is_some()));
    }
}
