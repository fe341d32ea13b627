use std::ops::Range;

use super::SharedKeys;
use crate::{error::Result, snapshot::StateSnapshot, time::EventTime};

/// The operations that all keyed states have in common.
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
