use std::{ops::Range, sync::Arc};

use flott_core::{
    MaxParallelism,
    record::{Key, Record},
};

use super::table::Table;

/// The content of a [`KeyedTable`](super::keyed::KeyedTable) at a point in time, for a background thread.
pub(super) struct Frozen<K, V> {
    max_parallelism: MaxParallelism,
    tables: Vec<(Range<u32>, Arc<Table<K, V>>)>,
}

impl<K: Key, V: Record> Frozen<K, V> {
    pub(super) fn new(
        max_parallelism: MaxParallelism,
        mut tables: Vec<(Range<u32>, Arc<Table<K, V>>)>,
    ) -> Self {
        tables.sort_by_key(|(groups, _)| groups.start);
        Self { max_parallelism, tables }
    }

    pub(super) fn by_group(&self) -> ByGroup<'_, K, V> {
        ByGroup { frozen: self, table: 0, order: Vec::new(), starts: Vec::new() }
    }
}

/// Yields the entries of one key group after the other.
pub(super) struct ByGroup<'a, K, V> {
    frozen: &'a Frozen<K, V>,
    table: usize,
    /// The entries of the current table in order of key groups; empty if they have not been sorted.
    order: Vec<(&'a K, &'a V)>,
    /// Where each of the table's groups begins in `order`, and the end.
    starts: Vec<usize>,
}

impl<'a, K: Key, V: Record> ByGroup<'a, K, V> {
    /// The entries of a key group. Groups must be asked for in ascending order.
    pub(super) fn entries(&mut self, group: u32) -> &[(&'a K, &'a V)] {
        while self.frozen.tables.get(self.table).is_some_and(|(groups, _)| groups.end <= group) {
            self.table += 1;
            self.order.clear();
        }
        let Some((groups, table)) = self.frozen.tables.get(self.table) else {
            return &[];
        };
        if !groups.contains(&group) {
            return &[];
        }
        if self.order.is_empty() {
            self.sort(groups, table);
        }
        let at = (group - groups.start) as usize;
        &self.order[self.starts[at]..self.starts[at + 1]]
    }

    /// Counting sort by key group.
    fn sort(&mut self, groups: &Range<u32>, table: &'a Table<K, V>) {
        self.starts.clear();
        self.order.extend(table.iter());
        if groups.len() == 1 {
            self.starts.extend([0, self.order.len()]);
            return;
        }
        let group_of =
            |key: &K| u32::from(self.frozen.max_parallelism.key_group(key.key_hash()).0) - groups.start;
        let members: Vec<_> = self.order.iter().map(|(key, _)| group_of(key) as usize).collect();
        self.starts.resize(groups.len() + 1, 0);
        for &member in &members {
            self.starts[member + 1] += 1;
        }
        for at in 1..self.starts.len() {
            self.starts[at] += self.starts[at - 1];
        }
        let mut next = self.starts.clone();
        let unsorted = self.order.clone();
        for (entry, member) in unsorted.into_iter().zip(members) {
            self.order[next[member]] = entry;
            next[member] += 1;
        }
    }
}
