use std::ops::Range;

use flott_core::{
    Result,
    hash::HashSeed,
    key_group::KeySpace,
    record::{Key, Record},
    snapshot::{RestoredOperator, StateSnapshot},
    state::{KeyedState, SharedKeys, StateDeclaration, ValueTable},
};

use super::{
    batch::BatchKeys,
    encoding::{keyed_snapshot, restore_entries, write_groups},
    keyed::KeyedTable,
};

/// One value per key.
pub(super) struct HeapValueTable<K, V> {
    declaration: StateDeclaration,
    space: KeySpace,
    batch: BatchKeys<K>,
    table: KeyedTable<K, V>,
}

impl<K: Key, V: Record> HeapValueTable<K, V> {
    pub(super) fn restore(
        declaration: &StateDeclaration,
        space: KeySpace,
        seed: HashSeed,
        restored: &mut RestoredOperator,
    ) -> Result<Self> {
        let mut table = KeyedTable::new(space, seed);
        restore_entries(declaration, restored, |group, (key, value)| table.restore(group, key, value))?;
        Ok(Self { declaration: declaration.clone(), space, batch: BatchKeys::new(seed), table })
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
        let (declaration, groups) = (self.declaration.clone(), self.space.groups);
        let write = move |sink: &mut dyn flott_core::snapshot::KeyedSnapshotSink| {
            let mut by_group = frozen.by_group();
            write_groups(&declaration, groups, sink, |group, encoder| encoder.pairs(by_group.entries(group)))
        };
        keyed_snapshot(&self.declaration, Box::new(write))
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
