use std::ops::Range;

use flott_core::{
    Result, Schema,
    hash::HashSeed,
    record::{Key, Record},
    snapshot::{RestoredOperator, StateSnapshot},
    state::{KeyedState, SharedKeys, StateDescriptor, ValueTable},
};

use super::{
    batch::BatchKeys,
    encoding::{entry_schema, keyed_snapshot, restore_entries, write_groups},
    keyed::{KeySpace, KeyedTable},
};

/// One value per key.
pub(super) struct HeapValueTable<K, V> {
    descriptor: StateDescriptor,
    batch: BatchKeys<K>,
    table: KeyedTable<K, V>,
}

impl<K: Key, V: Record> HeapValueTable<K, V> {
    pub(super) fn restore(
        descriptor: &StateDescriptor,
        seed: HashSeed,
        restored: &mut RestoredOperator,
    ) -> Result<Self> {
        let mut table = KeyedTable::new(KeySpace::of(descriptor), seed);
        restore_entries(descriptor, &Self::schema(), restored, |group, (key, value)| {
            table.restore(group, key, value)
        })?;
        Ok(Self { descriptor: descriptor.clone(), batch: BatchKeys::new(seed), table })
    }

    fn schema() -> Schema {
        entry_schema(&[("key", K::schema()), ("value", V::schema())])
    }
}

impl<K: Key, V: Record> KeyedState for HeapValueTable<K, V> {
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
        let groups = self.descriptor.key_groups;
        let write = move |sink: &mut dyn flott_core::snapshot::KeyedSnapshotSink| {
            let mut by_group = frozen.by_group();
            write_groups(&Self::schema(), groups, sink, |group, encoder| {
                encoder.pairs(by_group.entries(group))
            })
        };
        keyed_snapshot(&self.descriptor.name, Self::schema(), Box::new(write))
    }
}

impl<K: Key, V: Record> ValueTable<V> for HeapValueTable<K, V> {
    #[inline]
    fn get(&mut self, at: usize) -> Option<&V> {
        self.batch.get(&self.table, at)
    }

    #[inline]
    fn get_mut(&mut self, at: usize) -> Option<&mut V> {
        self.batch.get_mut(&mut self.table, at)
    }

    #[inline]
    fn set(&mut self, at: usize, value: V) -> &mut V {
        self.batch.set(&mut self.table, at, value)
    }

    fn clear(&mut self, at: usize) {
        self.batch.remove(&mut self.table, at);
    }

    fn update(&mut self, range: Range<usize>, visitor: &mut dyn FnMut(usize, Option<&mut V>) -> Option<V>) {
        self.batch.update(&mut self.table, range, visitor);
    }
}
