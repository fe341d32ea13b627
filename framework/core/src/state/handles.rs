use super::{
    KeyedState, MapTable, StateBackend, StateBinder, StateDeclaration, TimeDomain, TimerTable, ValueTable,
};
use crate::{
    error::Result,
    record::{Key, Record},
    time::{EventTime, ProcessingTime},
};

/// A handle in an operator struct (`ValueState`, `MapState`, a timer): declared by type, bound when the operator
/// opens.
pub trait StateHandle {
    /// The state of this name, for keys of type `K`.
    fn declaration<K: Key>(name: &str) -> StateDeclaration;

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
    ($name:ident<$($param:ident),*>[$($bounds:tt)*], $table:ty, $make:ident::<$($extra:ident),*>) => {
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
            fn declaration<K: Key>(name: &str) -> StateDeclaration {
                StateDeclaration::$make::<K $(, $extra)*>(name)
            }

            fn bind<K: Key, B: StateBackend>(
                &mut self,
                name: &str,
                binder: &mut StateBinder<'_, B>,
            ) -> Result<()> {
                let declaration = Self::declaration::<K>(name);
                let table = binder.backend.$make::<K $(, $extra)*>(&declaration, binder.keys, binder.restored);
                self.table = Some(table?);
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

handle!(ValueState<V>[V: Record], dyn ValueTable<V>, value::<V>);

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
    map::<M, V>
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

    /// Returns `true` if there is a value under `map_key`.
    pub fn contains_key(&mut self, map_key: &M) -> bool {
        self.get(map_key).is_some()
    }

    /// Number of entries.
    pub fn len(&mut self) -> usize {
        let at = self.at;
        self.bound().len(at)
    }

    /// Returns `true` if there is no entry.
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
    ($(#[$doc:meta])* $name:ident($time:ident)) => {
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
            fn declaration<K: Key>(name: &str) -> StateDeclaration {
                StateDeclaration::timer::<K>(name, TimeDomain::$time)
            }

            fn bind<K: Key, B: StateBackend>(
                &mut self,
                name: &str,
                binder: &mut StateBinder<'_, B>,
            ) -> Result<()> {
                let declaration = Self::declaration::<K>(name);
                self.table = Some(binder.backend.timers::<K>(&declaration, binder.keys, binder.restored)?);
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
