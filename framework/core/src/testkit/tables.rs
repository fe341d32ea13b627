//! The tables of [`MapBackend`](super::MapBackend): one ordered map from an entry's key to its value. All four kinds
//! of state are that, with different entry keys.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Range,
    sync::Arc,
};

use crate::{
    error::{Error, ErrorKind, Result},
    key_group::{KeyGroup, KeySpace},
    record::{ForeignCheck, Key, Record},
    snapshot::{RestoredOperator, StateContent, StateSnapshot},
    state::{
        KeyBatch, KeyedState, MapTable, SharedKeys, StateDeclaration, TimerTable, ValueTable, WindowTable,
        damaged,
    },
    time::EventTime,
};

/// How an entry's key contains the user's key.
pub(super) trait EntryKey: Record + Ord {
    type Key: Key;
    fn key(&self) -> &Self::Key;
}

/// Entry key of a value.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Plain<K>(K);
/// Entry key of a map entry.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Keyed<K, M>(K, M);
/// Entry key of a timer or a window: time first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timed<K>(i64, K);

macro_rules! entry_key {
    ($name:ident<K $(, $extra:ident: $bound:path)?>, $key:tt, $($field:tt),+) => {
        impl<K: Key $(, $extra: Record + $bound)?> Record for $name<K $(, $extra)?> {
            const FIXED_SIZE: Option<usize> = None;
            fn schema() -> crate::Schema {
                K::schema()
            }
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$field.encode(out);)+
            }
            fn decode(input: &mut &[u8]) -> Result<Self, crate::DecodeError> {
                Ok(Self($({
                    let _position = $field;
                    Record::decode(input)?
                }),+))
            }
            fn duplicate(&self) -> Self {
                Self($(self.$field.duplicate()),+)
            }
        }
        impl<K: Key $(, $extra: Record + $bound)?> EntryKey for $name<K $(, $extra)?> {
            type Key = K;
            fn key(&self) -> &K {
                &self.$key
            }
        }
    };
}
entry_key!(Plain<K>, 0, 0);
entry_key!(Keyed<K, M: Ord>, 0, 0, 1);
entry_key!(Timed<K>, 1, 0, 1);

pub(super) struct Table<E: EntryKey, V> {
    declaration: StateDeclaration,
    space: KeySpace,
    entries: BTreeMap<E, V>,
    keys: Option<Arc<KeyBatch<E::Key>>>,
}

pub(super) type Values<K, V> = Table<Plain<K>, V>;
pub(super) type Maps<K, M, V> = Table<Keyed<K, M>, V>;
pub(super) type Timers<K> = Table<Timed<K>, ()>;
pub(super) type Windows<K, A> = Table<Timed<K>, A>;

impl<E: EntryKey, V: Record> Table<E, V> {
    pub(super) fn restore(
        declaration: &StateDeclaration,
        space: KeySpace,
        restored: &mut RestoredOperator,
    ) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for (group, bytes) in restored.take_keyed(declaration)?.groups {
            let mut input = &bytes[..];
            while !input.is_empty() {
                let decoded = E::decode(&mut input).and_then(|key| Ok((key, V::decode(&mut input)?)));
                let (key, value) = decoded.map_err(|error| damaged(&declaration.name, group, &error))?;
                entries.insert(key, value);
            }
        }
        Ok(Self { declaration: declaration.clone(), space, entries, keys: None })
    }

    fn key(&self, at: usize) -> E::Key {
        let keys = self.keys.as_ref().expect("state is used between begin_batch and end_batch");
        keys.keys[at].duplicate()
    }
}

impl<E: EntryKey, V: Record> KeyedState for Table<E, V> {
    fn begin_batch(&mut self, keys: SharedKeys) {
        self.keys = Some(keys.downcast().expect("keys are of the type of the table"));
    }

    fn end_batch(&mut self) {
        self.keys = None;
    }

    fn prefetch(&mut self, range: Range<usize>) {
        let keys = self.keys.as_ref().map_or(0, |keys| keys.keys.len());
        assert!(range.end <= keys, "prefetch of {range:?} in a batch of {keys}");
    }

    fn snapshot(&mut self) -> StateSnapshot {
        let mut groups = BTreeMap::<KeyGroup, (u64, Vec<u8>)>::new();
        let mut check = ForeignCheck::new(&V::schema());
        let mut checked = Ok(());
        for (key, value) in &self.entries {
            if checked.is_ok() {
                checked = check.record(value);
            }
            let group = self.space.max_parallelism.key_group(key.key().key_hash());
            let (count, bytes) = groups.entry(group).or_default();
            *count += 1;
            if checked.is_ok() {
                key.encode(bytes);
                value.encode(bytes);
            }
        }
        let write = move |sink: &mut dyn crate::snapshot::KeyedSnapshotSink| {
            checked.map_err(|error| Error::from(error).with_kind(ErrorKind::State))?;
            groups.iter().try_for_each(|(group, (count, bytes))| sink.key_group(*group, *count, bytes))
        };
        let content = StateContent::Keyed(Box::new(write));
        StateSnapshot { declaration: self.declaration.clone(), content }
    }
}

impl<K: Key, V: Record> ValueTable<V> for Values<K, V> {
    fn get(&mut self, at: usize) -> Option<&V> {
        let key = Plain(self.key(at));
        self.entries.get(&key)
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut V> {
        let key = Plain(self.key(at));
        self.entries.get_mut(&key)
    }

    fn set(&mut self, at: usize, value: V) -> &mut V {
        match self.entries.entry(Plain(self.key(at))) {
            Entry::Vacant(entry) => entry.insert(value),
            Entry::Occupied(entry) => {
                let place = entry.into_mut();
                *place = value;
                place
            }
        }
    }

    fn clear(&mut self, at: usize) {
        let key = Plain(self.key(at));
        self.entries.remove(&key);
    }
}

impl<K: Key, M: Record + Ord, V: Record> MapTable<M, V> for Maps<K, M, V> {
    fn get(&mut self, at: usize, map_key: &M) -> Option<&V> {
        let key = Keyed(self.key(at), map_key.duplicate());
        self.entries.get(&key)
    }

    fn get_mut(&mut self, at: usize, map_key: &M) -> Option<&mut V> {
        let key = Keyed(self.key(at), map_key.duplicate());
        self.entries.get_mut(&key)
    }

    fn insert(&mut self, at: usize, map_key: M, value: V) -> Option<V> {
        let key = Keyed(self.key(at), map_key);
        self.entries.insert(key, value)
    }

    fn remove(&mut self, at: usize, map_key: &M) -> Option<V> {
        let key = Keyed(self.key(at), map_key.duplicate());
        self.entries.remove(&key)
    }

    fn len(&mut self, at: usize) -> usize {
        let key = self.key(at);
        self.entries.keys().filter(|entry| entry.0 == key).count()
    }

    fn visit(&mut self, at: usize, visitor: &mut dyn FnMut(&M, &V) -> bool) {
        let key = self.key(at);
        for (entry, value) in self.entries.iter().filter(|(entry, _)| entry.0 == key) {
            if !visitor(&entry.1, value) {
                return;
            }
        }
    }

    fn clear(&mut self, at: usize) {
        let key = self.key(at);
        self.entries.retain(|entry, _| entry.0 != key);
    }
}

impl<K: Key> TimerTable for Timers<K> {
    fn register(&mut self, at: usize, time: i64) {
        let key = Timed(time, self.key(at));
        self.entries.insert(key, ());
    }

    fn delete(&mut self, at: usize, time: i64) -> bool {
        let key = Timed(time, self.key(at));
        self.entries.remove(&key).is_some()
    }

    fn next_time(&self) -> Option<i64> {
        self.entries.keys().next().map(|entry| entry.0)
    }

    fn due(&mut self, until: i64, limit: usize, times: &mut Vec<i64>) -> SharedKeys {
        let mut keys = KeyBatch::default();
        for entry in self.entries.keys().take_while(|entry| entry.0 <= until).take(limit) {
            times.push(entry.0);
            keys.push(entry.1.duplicate());
        }
        Arc::new(keys)
    }
}

impl<K: Key, A: Record> WindowTable<K, A> for Windows<K, A> {
    fn get(&mut self, window: EventTime, at: usize) -> Option<&A> {
        let key = Timed(window.0, self.key(at));
        self.entries.get(&key)
    }

    fn get_mut(&mut self, window: EventTime, at: usize) -> Option<&mut A> {
        let key = Timed(window.0, self.key(at));
        self.entries.get_mut(&key)
    }

    fn set(&mut self, window: EventTime, at: usize, accumulator: A) {
        let key = Timed(window.0, self.key(at));
        self.entries.insert(key, accumulator);
    }

    fn first_window(&self) -> Option<EventTime> {
        self.entries.keys().next().map(|entry| EventTime(entry.0))
    }

    fn take_window(
        &mut self,
        window: EventTime,
        at_least: usize,
        visitor: &mut dyn FnMut(&K, A) -> Result<()>,
    ) -> Result<()> {
        let of_window = |entry: &Timed<K>| entry.0 == window.0;
        let (mut taken, kept): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.entries).into_iter().partition(|(entry, _)| of_window(entry));
        self.entries = kept;
        for _ in 0..at_least {
            let Some((entry, accumulator)) = taken.pop_first() else { break };
            visitor(&entry.1, accumulator)?;
        }
        self.entries.append(&mut taken);
        Ok(())
    }
}
