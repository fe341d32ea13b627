use std::{ops::Range, sync::Arc};

use flott_core::{
    hash::HashSeed,
    record::{Key, Record},
    state::{KeyBatch, SharedKeys},
};

use super::{
    hash::KeyHash,
    keyed::{KeyedTable, Slot},
};

const NO_BATCH: &str = "the engine begins a batch before it uses its keys";

/// The keys of the current batch, and what is known about where their entries are.
pub(super) struct BatchKeys<K> {
    seed: HashSeed,
    keys: Option<Arc<KeyBatch<K>>>,
    /// Where each key's entry was seen last.
    hints: Vec<Slot>,
    /// The key that was looked for last and not found, if nothing has changed since.
    absent: usize,
}

impl<K: Key> BatchKeys<K> {
    /// For tables with this seed.
    pub(super) fn new(seed: HashSeed) -> Self {
        Self { seed, keys: None, hints: Vec::new(), absent: usize::MAX }
    }

    pub(super) fn begin(&mut self, keys: SharedKeys) {
        let keys = keys.downcast::<KeyBatch<K>>().unwrap_or_else(|_| {
            panic!("the batch has keys of another type than {}", std::any::type_name::<K>())
        });
        self.hints.clear();
        self.hints.resize(keys.keys.len(), Slot::NONE);
        self.keys = Some(keys);
        self.absent = usize::MAX;
    }

    pub(super) fn end(&mut self) {
        self.keys = None;
    }

    /// The next look-up is in another table than the last one.
    pub(super) fn forget_absent(&mut self) {
        self.absent = usize::MAX;
    }

    /// A key and its key hash.
    #[inline]
    pub(super) fn in_group(&self, at: usize) -> (&K, u64) {
        let batch = self.keys.as_ref().expect(NO_BATCH);
        (&batch.keys[at], batch.hashes[at])
    }

    #[inline]
    pub(super) fn at(&self, at: usize) -> (&K, KeyHash) {
        let batch = self.keys.as_ref().expect(NO_BATCH);
        (&batch.keys[at], KeyHash::in_batch(batch, at, self.seed))
    }

    /// Brings the entries of these keys nearer.
    pub(super) fn prefetch<V: Record>(&mut self, table: &KeyedTable<K, V>, range: Range<usize>) {
        if table.is_near() {
            return;
        }
        let batch = self.keys.as_ref().expect(NO_BATCH);
        let range = range.start.min(batch.keys.len())..range.end.min(batch.keys.len());
        let (hints, seed) = (&mut self.hints[range.clone()], self.seed);
        for (hint, at) in hints.iter_mut().zip(range.clone()) {
            *hint = table.prefetch_tags(KeyHash::in_batch(batch, at, seed));
        }
        for (hint, at) in hints.iter_mut().zip(range) {
            *hint = table.prefetch_entry(KeyHash::in_batch(batch, at, seed), *hint);
        }
    }

    fn find<V: Record>(&mut self, table: &KeyedTable<K, V>, at: usize) -> Option<Slot> {
        let (key, hash) = self.at(at);
        let found = table.find(hash, key);
        match found {
            Some(slot) => self.hints[at] = slot,
            None => self.absent = at,
        }
        found
    }

    /// Where the key's entry is, if it is where it was seen last.
    #[inline]
    fn hint<V: Record>(&self, table: &KeyedTable<K, V>, at: usize) -> Option<Slot> {
        let batch = self.keys.as_ref().expect(NO_BATCH);
        let hint = self.hints[at];
        table.is_at_hand(hint, &batch.keys[at]).then_some(hint)
    }

    /// To look at. What is found is remembered as by [`Self::get_mut`], so that a [`Self::set`] that follows need not search.
    #[inline]
    pub(super) fn get<'t, V: Record>(&mut self, table: &'t KeyedTable<K, V>, at: usize) -> Option<&'t V> {
        let (key, hash) = self.at(at);
        let hint = self.hints[at];
        // Nobody has looked ahead: the shortest way is a plain look-up.
        if hint.is_none() {
            let found = table.find_value(hash, key);
            if found.is_none() {
                self.absent = at;
            }
            return found;
        }
        match table.value_at(hint, key) {
            Some(value) => Some(value),
            None => self.search_value(table, at),
        }
    }

    #[inline(never)]
    fn search_value<'t, V: Record>(&mut self, table: &'t KeyedTable<K, V>, at: usize) -> Option<&'t V> {
        let slot = self.find(table, at)?;
        table.value_at(slot, self.at(at).0)
    }

    #[inline]
    pub(super) fn get_mut<'t, V: Record>(
        &mut self,
        table: &'t mut KeyedTable<K, V>,
        at: usize,
    ) -> Option<&'t mut V> {
        // Nobody has looked ahead: the shortest way is a plain look-up.
        if self.hints[at].is_none() {
            let (key, hash) = self.at(at);
            let found = table.find_mut(hash, key);
            if found.is_none() {
                self.absent = at;
            }
            return found;
        }
        match self.hint(table, at) {
            Some(slot) => Some(table.value_mut(slot)),
            None => self.search(table, at),
        }
    }

    #[inline(never)]
    fn search<'t, V: Record>(&mut self, table: &'t mut KeyedTable<K, V>, at: usize) -> Option<&'t mut V> {
        self.find(table, at).map(|slot| table.value_mut(slot))
    }

    /// See [`ValueTable::update`](flott_core::state::ValueTable::update).
    pub(super) fn update<V: Record>(
        &mut self,
        table: &mut KeyedTable<K, V>,
        range: Range<usize>,
        visitor: &mut dyn FnMut(usize, Option<&mut V>) -> Option<V>,
    ) {
        let batch = Arc::clone(self.keys.as_ref().expect(NO_BATCH));
        let (keys, hints) = (&batch.keys[range.clone()], &self.hints[range.clone()]);
        for ((at, key), &hint) in range.zip(keys).zip(hints) {
            let hash = KeyHash::in_batch(&batch, at, self.seed);
            let found = if !hint.is_none() && table.is_at_hand(hint, key) {
                Some(table.value_mut(hint))
            } else {
                table.find_mut(hash, key)
            };
            if let Some(value) = found {
                visitor(at, Some(value));
            } else if let Some(value) = visitor(at, None) {
                table.insert(hash, key.duplicate(), value);
            }
        }
        self.absent = usize::MAX;
    }

    #[inline]
    pub(super) fn set<'t, V: Record>(
        &mut self,
        table: &'t mut KeyedTable<K, V>,
        at: usize,
        value: V,
    ) -> &'t mut V {
        if let Some(slot) = self.hint(table, at) {
            let current = table.value_mut(slot);
            *current = value;
            return current;
        }
        self.search_and_set(table, at, value)
    }

    #[inline(never)]
    fn search_and_set<'t, V: Record>(
        &mut self,
        table: &'t mut KeyedTable<K, V>,
        at: usize,
        value: V,
    ) -> &'t mut V {
        let found = if self.absent == at { None } else { self.find(table, at) };
        let Some(slot) = found else {
            return self.insert(table, at, value);
        };
        let current = table.value_mut(slot);
        *current = value;
        current
    }

    fn insert<'t, V: Record>(&mut self, table: &'t mut KeyedTable<K, V>, at: usize, value: V) -> &'t mut V {
        self.absent = usize::MAX;
        let (key, hash) = self.at(at);
        let slot = table.insert(hash, key.duplicate(), value);
        self.hints[at] = slot;
        table.value_mut(slot)
    }

    pub(super) fn remove<V: Record>(&mut self, table: &mut KeyedTable<K, V>, at: usize) -> Option<V> {
        let (key, hash) = self.at(at);
        table.remove(hash, key)
    }
}
