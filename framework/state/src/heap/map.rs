use std::{collections::BTreeMap, ops::Range};

use flott_core::{
    Result,
    hash::HashSeed,
    key_group::KeySpace,
    record::{Key, Record},
    snapshot::{RestoredOperator, StateSnapshot},
    state::{KeyedState, MapTable, SharedKeys, StateDeclaration},
};

use super::{
    batch::BatchKeys,
    encoding::{keyed_snapshot, restore_entries, write_groups},
    keyed::KeyedTable,
    shared_map::SharedMap,
};

/// One ordered map per key. A key without entries has no map.
pub(super) struct HeapMapTable<K, M, V> {
    declaration: StateDeclaration,
    space: KeySpace,
    batch: BatchKeys<K>,
    table: KeyedTable<K, SharedMap<M, V>>,
}

impl<K: Key, M: Record + Ord, V: Record> HeapMapTable<K, M, V> {
    pub(super) fn restore(
        declaration: &StateDeclaration,
        space: KeySpace,
        seed: HashSeed,
        restored: &mut RestoredOperator,
    ) -> Result<Self> {
        let mut table = KeyedTable::new(space, seed);
        restore_entries(declaration, restored, |group, (key, map)| table.restore(group, key, map))?;
        Ok(Self { declaration: declaration.clone(), space, batch: BatchKeys::new(seed), table })
    }

    fn map(&mut self, at: usize) -> Option<&BTreeMap<M, V>> {
        self.batch.get(&self.table, at).map(SharedMap::read)
    }

    fn map_mut(&mut self, at: usize) -> Option<&mut SharedMap<M, V>> {
        self.batch.get_mut(&mut self.table, at)
    }
}

impl<K: Key, M: Record + Ord, V: Record> KeyedState for HeapMapTable<K, M, V> {
    fn begin_batch(&mut self, keys: SharedKeys) {
        self.batch.begin(keys);
    }

    fn end_batch(&mut self) {
        self.batch.end();
    }

    fn prefetch(&mut self, range: Range<usize>) {
        self.batch.prefetch(&self.table, range);
    }

    fn snapshot(&mut self) -> StateSnapshot {
        let frozen = self.table.freeze();
        let (declaration, groups) = (self.declaration.clone(), self.space.groups);
        let write = move |sink: &mut dyn flott_core::snapshot::KeyedSnapshotSink| {
            let mut by_group = frozen.by_group();
            write_groups(&declaration, groups, sink, |group, encoder| encoder.pairs(by_group.entries(group)))
        };
        keyed_snapshot(&self.declaration, Box::new(write))
    }
}

impl<K: Key, M: Record + Ord, V: Record> MapTable<M, V> for HeapMapTable<K, M, V> {
    fn get(&mut self, at: usize, map_key: &M) -> Option<&V> {
        self.map(at)?.get(map_key)
    }

    fn get_mut(&mut self, at: usize, map_key: &M) -> Option<&mut V> {
        self.map_mut(at)?.get_mut(map_key)
    }

    fn insert(&mut self, at: usize, map_key: M, value: V) -> Option<V> {
        if let Some(map) = self.map_mut(at) {
            return map.insert(map_key, value);
        }
        self.batch.set(&mut self.table, at, SharedMap::new(BTreeMap::from([(map_key, value)])));
        None
    }

    fn remove(&mut self, at: usize, map_key: &M) -> Option<V> {
        let map = self.map_mut(at)?;
        let removed = map.remove(map_key);
        if map.read().is_empty() {
            self.clear(at);
        }
        removed
    }

    fn len(&mut self, at: usize) -> usize {
        self.map(at).map_or(0, BTreeMap::len)
    }

    fn visit(&mut self, at: usize, visitor: &mut dyn FnMut(&M, &V) -> bool) {
        if let Some(map) = self.map(at) {
            map.iter().all(|(map_key, value)| visitor(map_key, value));
        }
    }

    fn clear(&mut self, at: usize) {
        self.batch.remove(&mut self.table, at);
    }
}
