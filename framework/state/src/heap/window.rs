use std::{collections::VecDeque, ops::Range};

use flott_core::{
    EventTime, Result,
    hash::HashSeed,
    key_group::KeySpace,
    record::{Key, Record},
    snapshot::{RestoredOperator, StateSnapshot},
    state::{KeyedState, SharedKeys, StateDeclaration, WindowTable},
};

use super::{
    batch::BatchKeys,
    encoding::{keyed_snapshot, restore_entries, write_groups},
    keyed::KeyedTable,
};

/// One accumulator per window and key, by window first: an open window is a table of its own.
pub(super) struct HeapWindowTable<K, A> {
    declaration: StateDeclaration,
    space: KeySpace,
    seed: HashSeed,
    batch: BatchKeys<K>,
    /// In order of start.
    windows: VecDeque<(EventTime, Box<KeyedTable<K, A>>)>,
    /// The window that was used last: most records go to the same one as the record before.
    last: usize,
    /// An empty table that keeps its memory for the next window.
    spare: Option<Box<KeyedTable<K, A>>>,
}

impl<K: Key, A: Record> HeapWindowTable<K, A> {
    pub(super) fn restore(
        declaration: &StateDeclaration,
        space: KeySpace,
        seed: HashSeed,
        restored: &mut RestoredOperator,
    ) -> Result<Self> {
        let mut table = Self {
            declaration: declaration.clone(),
            space,
            seed,
            batch: BatchKeys::new(seed),
            windows: VecDeque::new(),
            last: 0,
            spare: None,
        };
        restore_entries(declaration, restored, |group, (window, key, accumulator)| {
            let at = table.open(window);
            table.windows[at].1.restore(group, key, accumulator)
        })?;
        Ok(table)
    }

    /// Position of an open window.
    #[inline]
    fn position(&mut self, window: EventTime) -> Option<usize> {
        if self.windows.get(self.last).is_some_and(|(start, _)| *start == window) {
            return Some(self.last);
        }
        self.batch.forget_absent();
        let at = self.windows.binary_search_by_key(&window, |(start, _)| *start).ok()?;
        self.last = at;
        Some(at)
    }

    /// Position of a window, opened if it was not.
    fn open(&mut self, window: EventTime) -> usize {
        if let Some(at) = self.position(window) {
            return at;
        }
        let at = self.windows.partition_point(|(start, _)| *start < window);
        let table = self.spare.take().unwrap_or_else(|| Box::new(KeyedTable::new(self.space, self.seed)));
        self.windows.insert(at, (window, table));
        self.last = at;
        at
    }
}

impl<K: Key, A: Record> KeyedState for HeapWindowTable<K, A> {
    fn begin_batch(&mut self, keys: SharedKeys) {
        self.batch.begin(keys);
    }

    fn end_batch(&mut self) {
        self.batch.end();
    }

    fn prefetch(&mut self, range: Range<usize>) {
        if let Some((_, table)) = self.windows.get(self.last) {
            self.batch.prefetch(table, range);
        }
    }

    fn snapshot(&mut self) -> StateSnapshot {
        let frozen: Vec<_> =
            self.windows.iter_mut().map(|(window, table)| (*window, table.freeze())).collect();
        let (declaration, groups) = (self.declaration.clone(), self.space.groups);
        let write = move |sink: &mut dyn flott_core::snapshot::KeyedSnapshotSink| {
            let mut windows: Vec<_> =
                frozen.iter().map(|(window, frozen)| (*window, frozen.by_group())).collect();
            write_groups(&declaration, groups, sink, |group, encoder| {
                for (window, by_group) in &mut windows {
                    for (key, accumulator) in by_group.entries(group) {
                        encoder.entry((window, *key, *accumulator))?;
                    }
                }
                Ok(())
            })
        };
        keyed_snapshot(&self.declaration, Box::new(write))
    }
}

impl<K: Key, A: Record> WindowTable<K, A> for HeapWindowTable<K, A> {
    #[inline]
    fn get(&mut self, window: EventTime, at: usize) -> Option<&A> {
        let position = self.position(window)?;
        self.batch.get(&self.windows[position].1, at)
    }

    #[inline]
    fn get_mut(&mut self, window: EventTime, at: usize) -> Option<&mut A> {
        let position = self.position(window)?;
        self.batch.get_mut(&mut self.windows[position].1, at)
    }

    fn set(&mut self, window: EventTime, at: usize, accumulator: A) {
        let position = self.open(window);
        self.batch.set(&mut self.windows[position].1, at, accumulator);
    }

    fn update(
        &mut self,
        window: EventTime,
        range: Range<usize>,
        visitor: &mut dyn FnMut(usize, Option<&mut A>) -> Option<A>,
    ) {
        let position = self.open(window);
        self.batch.update(&mut self.windows[position].1, range, visitor);
    }

    fn first_window(&self) -> Option<EventTime> {
        self.windows.front().map(|(window, _)| *window)
    }

    fn take_window(
        &mut self,
        window: EventTime,
        at_least: usize,
        visitor: &mut dyn FnMut(&K, A) -> Result<()>,
    ) -> Result<()> {
        let Some(position) = self.position(window) else { return Ok(()) };
        self.batch.forget_absent();
        let mut result = Ok(());
        let is_empty = self.windows[position].1.drain(at_least, &mut |key, accumulator| {
            result = visitor(key, accumulator);
            result.is_ok()
        });
        if is_empty {
            self.spare = self.windows.remove(position).map(|(_, table)| table);
        } else if result.is_err() {
            self.windows.remove(position);
        }
        result
    }
}
