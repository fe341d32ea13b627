//! Keyed state: what operators declare and use, and what a backend provides.
//!
//! The engine works on a batch of keys at a time: it hands the batch to every table ([`KeyedState::begin_batch`]),
//! lets the tables prefetch, then points all handles at one record after the other. So a handle such as
//! [`ValueState`] need not know the type of the key, and memory latency is paid once per batch.

use std::{
    any::Any,
    ops::Range,
    sync::{Arc, OnceLock},
};

use crate::{
    error::Result,
    hash::HashSeed,
    key_group::{KeyGroup, KeyGroupRange, MaxParallelism},
    record::{Key, Record, Schema},
    snapshot::{RestoredOperator, StateSnapshot},
    time::{EventTime, ProcessingTime},
};

/// The keys of a batch, in record order, and their hashes.
#[derive(Debug)]
pub struct KeyBatch<K> {
    /// The keys.
    pub keys: Vec<K>,
    /// `keys[i].key_hash()`.
    pub hashes: Vec<u64>,
    /// Made by the first table that asks, for all tables of the operator.
    table_hashes: OnceLock<Vec<u64>>,
}

impl<K> Default for KeyBatch<K> {
    fn default() -> Self {
        Self { keys: Vec::new(), hashes: Vec::new(), table_hashes: OnceLock::new() }
    }
}

impl<K: Key> KeyBatch<K> {
    /// Adds a key.
    #[inline]
    pub fn push(&mut self, key: K) {
        self.hashes.push(key.key_hash());
        self.keys.push(key);
    }

    /// `keys[i].table_hash(seed)`. All tables that share the batch have the same seed.
    #[inline]
    pub fn table_hashes(&self, seed: HashSeed) -> &[u64] {
        self.table_hashes.get_or_init(|| {
            let mut scratch = Vec::new();
            self.keys.iter().map(|key| key.table_hash(seed, &mut scratch)).collect()
        })
    }

    /// Removes all keys, keeps the memory.
    pub fn clear(&mut self) {
        self.table_hashes.take();
        self.keys.clear();
        self.hashes.clear();
    }
}

/// An `Arc<KeyBatch<K>>` whose key type the holder does not name.
pub type SharedKeys = Arc<dyn Any + Send + Sync>;

/// Names and describes a state, before the job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDescriptor {
    /// Unique within the operator.
    pub name: String,
    /// Where keys of this subtask lie.
    pub key_groups: KeyGroupRange,
    /// Number of key groups of the job.
    pub max_parallelism: MaxParallelism,
}

/// What every keyed state can do, whatever it holds.
pub trait KeyedState: Send {
    /// Takes the keys that the following calls mean by their position.
    ///
    /// # Panics
    /// When the keys are of another type than the table was made for: a bug in the engine.
    fn begin_batch(&mut self, keys: SharedKeys);

    /// Forgets the keys, so that the engine can fill their memory again.
    fn end_batch(&mut self);

    /// Brings the entries of the keys at these positions nearer. A hint.
    fn prefetch(&mut self, range: Range<usize>);

    /// Freezes the content for a checkpoint. Cheap, whatever the size.
    fn snapshot(&mut self) -> StateSnapshot;
}

/// One value per key.
pub trait ValueTable<V>: KeyedState {
    /// The value of the key at a position, to look at: a checkpoint that is being written need not get a copy.
    fn get(&mut self, at: usize) -> Option<&V>;
    /// The value of the key at a position, to change.
    fn get_mut(&mut self, at: usize) -> Option<&mut V>;
    /// Sets it; the value is returned for use in place.
    fn set(&mut self, at: usize, value: V) -> &mut V;
    /// Removes it.
    fn clear(&mut self, at: usize);
    /// Gives the values of the keys at these positions to `visitor`, in order. Where there is none, what it returns is
    /// set; elsewhere that counts for nothing.
    fn update(&mut self, range: Range<usize>, visitor: &mut dyn FnMut(usize, Option<&mut V>) -> Option<V>) {
        for at in range {
            if let Some(value) = self.get_mut(at) {
                visitor(at, Some(value));
            } else if let Some(value) = visitor(at, None) {
                self.set(at, value);
            }
        }
    }
}

/// One ordered map per key.
pub trait MapTable<M, V>: KeyedState {
    /// The value under a map key, to look at.
    fn get(&mut self, at: usize, map_key: &M) -> Option<&V>;
    /// The value under a map key, to change.
    fn get_mut(&mut self, at: usize, map_key: &M) -> Option<&mut V>;
    /// Sets it and returns the value that was there.
    fn insert(&mut self, at: usize, map_key: M, value: V) -> Option<V>;
    /// Removes and returns it.
    fn remove(&mut self, at: usize, map_key: &M) -> Option<V>;
    /// Number of entries of the key at a position.
    fn len(&mut self, at: usize) -> usize;
    /// Visits the entries in order of map keys until the visitor returns `false`.
    fn visit(&mut self, at: usize, visitor: &mut dyn FnMut(&M, &V) -> bool);
    /// Removes all entries of the key at a position.
    fn clear(&mut self, at: usize);
}

/// Timers: pairs of time and key, each at most once. Times are event or processing time, in milliseconds.
pub trait TimerTable: KeyedState {
    /// Registers a timer for the key at a position. Registering it twice is registering it once.
    fn register(&mut self, at: usize, time: i64);
    /// Deletes a timer of the key at a position; `false` if there was none.
    fn delete(&mut self, at: usize, time: i64) -> bool;
    /// The earliest registered time.
    fn next_time(&self) -> Option<i64>;
    /// Up to `limit` timers due at or before `until`, earliest first, as keys and times. They stay registered.
    fn due(&mut self, until: i64, limit: usize, times: &mut Vec<i64>) -> SharedKeys;
}

/// One accumulator per window and key. Windows are known by their start, and indexed by it first.
pub trait WindowTable<K, A>: KeyedState {
    /// The accumulator of the key at a position in a window, to look at.
    fn get(&mut self, window: EventTime, at: usize) -> Option<&A>;
    /// The accumulator of the key at a position in a window, to change.
    fn get_mut(&mut self, window: EventTime, at: usize) -> Option<&mut A>;
    /// Sets it.
    fn set(&mut self, window: EventTime, at: usize, accumulator: A);
    /// Gives the accumulators of the keys at these positions in a window to `visitor`, as [`ValueTable::update`] does.
    fn update(
        &mut self,
        window: EventTime,
        range: Range<usize>,
        visitor: &mut dyn FnMut(usize, Option<&mut A>) -> Option<A>,
    ) {
        for at in range {
            if let Some(accumulator) = self.get_mut(window, at) {
                visitor(at, Some(accumulator));
            } else if let Some(accumulator) = visitor(at, None) {
                self.set(window, at, accumulator);
            }
        }
    }
    /// Start of the earliest window that has an entry.
    fn first_window(&self) -> Option<EventTime>;
    /// Removes entries of a window and visits them: `at_least` so many, or all that there are. More than that by a bounded
    /// number. The window is gone with its last entry.
    ///
    /// # Errors
    /// The first error of the visitor; the window is gone all the same.
    fn take_window(
        &mut self,
        window: EventTime,
        at_least: usize,
        visitor: &mut dyn FnMut(&K, A) -> Result<()>,
    ) -> Result<()>;
}

/// Makes tables. The operator code does not know which backend it runs on.
pub trait StateBackend: Send + 'static {
    /// A table with one value per key, filled with what `restored` has under the descriptor's name.
    ///
    /// # Errors
    /// When the restored bytes are damaged or of another schema.
    fn value<K: Key, V: Record>(
        &mut self,
        descriptor: &StateDescriptor,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn ValueTable<V>>>;

    /// A table with one map per key.
    ///
    /// # Errors
    /// As [`Self::value`].
    fn map<K: Key, M: Record + Ord, V: Record>(
        &mut self,
        descriptor: &StateDescriptor,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn MapTable<M, V>>>;

    /// A table of timers.
    ///
    /// # Errors
    /// As [`Self::value`].
    fn timers<K: Key>(
        &mut self,
        descriptor: &StateDescriptor,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn TimerTable>>;

    /// A table of window accumulators.
    ///
    /// # Errors
    /// As [`Self::value`].
    fn windows<K: Key, A: Record>(
        &mut self,
        descriptor: &StateDescriptor,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn WindowTable<K, A>>>;
}

/// Binds the declared states of one operator to tables of one backend.
pub struct StateBinder<'a, B> {
    /// Makes the tables.
    pub backend: &'a mut B,
    /// What the checkpoint has for this operator.
    pub restored: &'a mut RestoredOperator,
    /// The subtask's keys.
    pub key_groups: KeyGroupRange,
    /// Number of key groups of the job.
    pub max_parallelism: MaxParallelism,
}

impl<B: StateBackend> StateBinder<'_, B> {
    /// Describes a state of this operator.
    #[must_use]
    pub fn descriptor(&self, name: &str) -> StateDescriptor {
        StateDescriptor {
            name: name.into(),
            key_groups: self.key_groups,
            max_parallelism: self.max_parallelism,
        }
    }
}

/// What kind of state a field declares.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StateDeclaration {
    /// Name of the state: the field's name.
    pub name: String,
    /// Schema of its values.
    pub schema: Schema,
}

/// A handle in an operator struct (`ValueState`, `MapState`, a timer): declared by type, bound when the operator
/// opens.
pub trait StateHandle {
    /// Schema of the values it holds.
    fn schema() -> Schema;

    /// Makes its table for keys of type `K`.
    ///
    /// # Errors
    /// When the restored bytes are damaged or of another schema.
    fn bind<K: Key, B: StateBackend>(&mut self, name: &str, binder: &mut StateBinder<'_, B>) -> Result<()>;

    /// Its table.
    ///
    /// # Panics
    /// Before [`Self::bind`].
    fn table(&mut self) -> &mut dyn KeyedState;

    /// Points the handle at the key at a position of the current batch.
    fn select(&mut self, at: usize);
}

const UNBOUND: &str = "state is bound when the operator opens, before it sees a record";

macro_rules! handle {
    ($name:ident<$($param:ident),*>[$($bounds:tt)*], $table:ty, $make:ident::<$($extra:ident),*>, $schema:expr) => {
        impl<$($bounds)*> Default for $name<$($param),*> {
            fn default() -> Self {
                Self { table: None, at: 0 }
            }
        }

        impl<$($bounds)*> $name<$($param),*> {
            fn bound(&mut self) -> &mut $table {
                &mut **self.table.as_mut().expect(UNBOUND)
            }
        }

        impl<$($bounds)*> StateHandle for $name<$($param),*> {
            fn schema() -> Schema {
                $schema
            }

            fn bind<K: Key, B: StateBackend>(
                &mut self,
                name: &str,
                binder: &mut StateBinder<'_, B>,
            ) -> Result<()> {
                let descriptor = binder.descriptor(name);
                self.table = Some(binder.backend.$make::<K $(, $extra)*>(&descriptor, binder.restored)?);
                Ok(())
            }

            fn table(&mut self) -> &mut dyn KeyedState {
                self.table.as_deref_mut().expect(UNBOUND)
            }

            #[inline]
            fn select(&mut self, at: usize) {
                self.at = at;
            }
        }
    };
}

/// One value for the current key.
///
/// ```
/// # use flott_core::state::ValueState;
/// struct Counter { count: ValueState<u64> }
/// impl Counter {
///     fn next(&mut self) -> u64 {
///         let count = self.count.get().copied().unwrap_or(0) + 1;
///         self.count.set(count);
///         count
///     }
/// }
/// ```
pub struct ValueState<V> {
    table: Option<Box<dyn ValueTable<V>>>,
    at: usize,
}

handle!(ValueState<V>[V: Record], dyn ValueTable<V>, value::<V>, V::schema());

impl<V: Record> ValueState<V> {
    /// The value, if one is set.
    #[inline]
    pub fn get(&mut self) -> Option<&V> {
        let at = self.at;
        self.bound().get(at)
    }

    /// The value, to change in place.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut V> {
        let at = self.at;
        self.bound().get_mut(at)
    }

    /// Sets the value.
    #[inline]
    pub fn set(&mut self, value: V) {
        let at = self.at;
        self.bound().set(at, value);
    }

    /// The value, set first if there is none.
    pub fn get_or_insert_with(&mut self, value: impl FnOnce() -> V) -> &mut V {
        let at = self.at;
        let table = self.bound();
        if table.get(at).is_none() {
            return table.set(at, value());
        }
        table.get_mut(at).expect("the value was there a line above")
    }

    /// Removes the value.
    pub fn clear(&mut self) {
        let at = self.at;
        self.bound().clear(at);
    }
}

/// One ordered map for the current key.
pub struct MapState<M, V> {
    table: Option<Box<dyn MapTable<M, V>>>,
    at: usize,
}

handle!(
    MapState<M, V>[M: Record + Ord, V: Record],
    dyn MapTable<M, V>,
    map::<M, V>,
    Schema::Map(Box::new(M::schema()), Box::new(V::schema()))
);

impl<M: Record + Ord, V: Record> MapState<M, V> {
    /// The value under `map_key`.
    pub fn get(&mut self, map_key: &M) -> Option<&V> {
        let at = self.at;
        self.bound().get(at, map_key)
    }

    /// The value under `map_key`, to change in place.
    pub fn get_mut(&mut self, map_key: &M) -> Option<&mut V> {
        let at = self.at;
        self.bound().get_mut(at, map_key)
    }

    /// Sets the value under `map_key` and returns the one that was there.
    pub fn insert(&mut self, map_key: M, value: V) -> Option<V> {
        let at = self.at;
        self.bound().insert(at, map_key, value)
    }

    /// Removes and returns the value under `map_key`.
    pub fn remove(&mut self, map_key: &M) -> Option<V> {
        let at = self.at;
        self.bound().remove(at, map_key)
    }

    /// Whether there is a value under `map_key`.
    pub fn contains_key(&mut self, map_key: &M) -> bool {
        self.get(map_key).is_some()
    }

    /// Number of entries.
    pub fn len(&mut self) -> usize {
        let at = self.at;
        self.bound().len(at)
    }

    /// Whether there is no entry.
    pub fn is_empty(&mut self) -> bool {
        self.len() == 0
    }

    /// Visits the entries in order of their map keys until the visitor returns `false`.
    pub fn visit(&mut self, mut visitor: impl FnMut(&M, &V) -> bool) {
        let at = self.at;
        self.bound().visit(at, &mut visitor);
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        let at = self.at;
        self.bound().clear(at);
    }
}

macro_rules! timer {
    ($(#[$doc:meta])* $name:ident($time:ty)) => {
        $(#[$doc])*
        #[derive(Default)]
        pub struct $name {
            table: Option<Box<dyn TimerTable>>,
            at: usize,
        }

        impl $name {
            fn bound(&mut self) -> &mut dyn TimerTable {
                &mut **self.table.as_mut().expect(UNBOUND)
            }

            /// Calls back for the current key at `time`; a time that has passed fires as soon as possible. A key can have
            /// several, at different times; setting one twice is setting it once.
            pub fn set(&mut self, time: $time) {
                let at = self.at;
                self.bound().register(at, time.0);
            }

            /// Deletes the current key's timer at `time`; `false` if there was none.
            pub fn delete(&mut self, time: $time) -> bool {
                let at = self.at;
                self.bound().delete(at, time.0)
            }

            /// The timers of all keys, for the engine.
            ///
            /// # Panics
            /// Before the operator is opened.
            pub fn timers(&mut self) -> &mut dyn TimerTable {
                self.bound()
            }
        }

        impl StateHandle for $name {
            fn schema() -> Schema {
                Schema::primitive(stringify!($name))
            }

            fn bind<K: Key, B: StateBackend>(
                &mut self,
                name: &str,
                binder: &mut StateBinder<'_, B>,
            ) -> Result<()> {
                let descriptor = binder.descriptor(name);
                self.table = Some(binder.backend.timers::<K>(&descriptor, binder.restored)?);
                Ok(())
            }

            fn table(&mut self) -> &mut dyn KeyedState {
                self.table.as_deref_mut().expect(UNBOUND)
            }

            #[inline]
            fn select(&mut self, at: usize) {
                self.at = at;
            }
        }
    };
}

timer! {
    /// Calls the operator back when event time reaches a point.
    EventTimer(EventTime)
}
timer! {
    /// Calls the operator back when the wall clock reaches a point.
    ProcessingTimer(ProcessingTime)
}

/// One group's worth of bytes that cannot be decoded, as an error.
#[must_use]
pub fn damaged(state: &str, group: KeyGroup, error: &crate::record::DecodeError) -> crate::Error {
    let what_to_do = match error {
        // Every byte is under a checksum, so it is not the bytes that have changed.
        crate::DecodeError::Foreign { .. } => {
            "run the binary that wrote the checkpoint, make the type read what it wrote, or start from an empty \
             checkpoint directory"
        }
        _ => "the snapshot is damaged",
    };
    crate::Error::new(
        crate::ErrorKind::State,
        format!("state {state:?}, key group {}: {error}; {what_to_do}", group.0),
    )
}
