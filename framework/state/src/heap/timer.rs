use std::{
    cell::Cell,
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    ops::Range,
    sync::Arc,
};

use flott_core::{
    Result,
    hash::HashSeed,
    key_group::KeySpace,
    record::{DecodeError, Key, Record},
    snapshot::{RestoredOperator, StateSnapshot},
    state::{KeyBatch, KeyedState, SharedKeys, StateDeclaration, TimerTable},
};

use super::{
    batch::BatchKeys,
    encoding::{keyed_snapshot, restore_entries, write_groups},
    freezable::{Duplicate, Freezable},
};

/// The timers of one key group in order of time.
struct TimerGroup<K>(BTreeSet<(i64, K)>);

impl<K> Default for TimerGroup<K> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<K: Key> Duplicate for TimerGroup<K> {
    fn duplicate(&self) -> Self {
        Self(self.0.iter().map(<(i64, K)>::duplicate).collect())
    }
}

/// Timers, in one ordered set per key group.
pub(super) struct HeapTimerTable<K> {
    declaration: StateDeclaration,
    space: KeySpace,
    batch: BatchKeys<K>,
    groups: Vec<Freezable<TimerGroup<K>>>,
    /// The earliest time of each group, `i64::MAX` for an empty one.
    first_times: Vec<i64>,
    timers: usize,
    /// The earliest time of all, if it has been computed since it last grew.
    first_time: Cell<Option<i64>>,
    /// The last keys handed out, to fill their memory again.
    due: Arc<KeyBatch<K>>,
}

impl<K: Key> HeapTimerTable<K> {
    pub(super) fn restore(
        declaration: &StateDeclaration,
        space: KeySpace,
        seed: HashSeed,
        restored: &mut RestoredOperator,
    ) -> Result<Self> {
        let groups = space.groups.len();
        let mut table = Self {
            declaration: declaration.clone(),
            space,
            batch: BatchKeys::new(seed),
            groups: std::iter::repeat_with(Freezable::default).take(groups).collect(),
            first_times: vec![i64::MAX; groups],
            timers: 0,
            first_time: Cell::new(None),
            due: Arc::default(),
        };
        restore_entries(declaration, restored, |group, (time, key): (i64, K)| {
            let hash = key.key_hash();
            table.space.check(hash, group)?;
            let is_new = table.insert(table.group_index(hash), time, key);
            if is_new { Ok(()) } else { Err(DecodeError::Invalid("a timer is there twice")) }
        })?;
        Ok(table)
    }

    fn group_index(&self, hash: u64) -> usize {
        (self.space.group(hash).wrapping_sub(self.space.groups.start)) as usize
    }

    fn insert(&mut self, group: usize, time: i64, key: K) -> bool {
        let is_new = self.groups[group].write().0.insert((time, key));
        if is_new {
            self.timers += 1;
            self.first_times[group] = self.first_times[group].min(time);
            self.first_time.set(self.first_time.get().map(|first| first.min(time)));
        }
        is_new
    }

    fn first_time_of(&self, group: usize) -> i64 {
        self.groups[group].read().0.first().map_or(i64::MAX, |(time, _)| *time)
    }
}

impl<K: Key> KeyedState for HeapTimerTable<K> {
    fn begin_batch(&mut self, keys: SharedKeys) {
        self.batch.begin(keys);
    }

    fn end_batch(&mut self) {
        self.batch.end();
    }

    fn prefetch(&mut self, _range: Range<usize>) {}

    fn snapshot(&mut self) -> StateSnapshot {
        let filled = self.groups.iter_mut().map(|group| (!group.read().0.is_empty()).then(|| group.freeze()));
        let frozen: Vec<_> = filled.collect();
        let (declaration, groups) = (self.declaration.clone(), self.space.groups);
        let write = move |sink: &mut dyn flott_core::snapshot::KeyedSnapshotSink| {
            write_groups(&declaration, groups, sink, |group, encoder| {
                let timers = frozen[(group - groups.start) as usize].iter().flat_map(|timers| &timers.0);
                timers.into_iter().try_for_each(|(time, key)| encoder.entry((time, key, &())))
            })
        };
        keyed_snapshot(&self.declaration, Box::new(write))
    }
}

impl<K: Key> TimerTable for HeapTimerTable<K> {
    fn register(&mut self, at: usize, time: i64) {
        let (key, hash) = self.batch.in_group(at);
        let (group, timer) = (self.group_index(hash), (time, key.duplicate()));
        if !self.groups[group].read().0.contains(&timer) {
            self.insert(group, time, timer.1);
        }
    }

    fn delete(&mut self, at: usize, time: i64) -> bool {
        let (key, hash) = self.batch.in_group(at);
        let group = self.group_index(hash);
        if time < self.first_times[group] {
            return false;
        }
        let timer = (time, key.duplicate());
        if !self.groups[group].read().0.contains(&timer) {
            return false;
        }
        self.groups[group].write().0.remove(&timer);
        self.timers -= 1;
        if time == self.first_times[group] {
            self.first_times[group] = self.first_time_of(group);
            self.first_time.set(self.first_time.get().filter(|first| *first != time));
        }
        true
    }

    fn next_time(&self) -> Option<i64> {
        if self.timers == 0 {
            return None;
        }
        if self.first_time.get().is_none() {
            self.first_time.set(self.first_times.iter().min().copied());
        }
        self.first_time.get()
    }

    fn due(&mut self, until: i64, limit: usize, times: &mut Vec<i64>) -> SharedKeys {
        if Arc::get_mut(&mut self.due).is_none() {
            self.due = Arc::default();
        }
        let keys = Arc::get_mut(&mut self.due).expect("it is ours alone, see above");
        keys.clear();
        times.clear();
        let is_due = |group: usize| self.first_times[group] <= until;
        let ready = (0..self.groups.len()).filter(|&group| is_due(group));
        let mut timers: Vec<_> = ready.map(|group| self.groups[group].read().0.iter().peekable()).collect();
        let mut first: BinaryHeap<_> = timers
            .iter_mut()
            .enumerate()
            .filter_map(|(group, timers)| timers.peek().map(|timer| Reverse((timer.0, group))))
            .collect();
        while times.len() < limit
            && let Some(Reverse((time, group))) = first.pop()
        {
            if let Some((_, key)) = timers[group].next() {
                times.push(time);
                keys.push(key.duplicate());
            }
            if let Some(timer) = timers[group].peek().filter(|timer| timer.0 <= until) {
                first.push(Reverse((timer.0, group)));
            }
        }
        Arc::clone(&self.due) as SharedKeys
    }
}
