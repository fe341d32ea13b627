use std::ops::Range;

use flott_core::{
    KeyGroup,
    hash::HashSeed,
    key_group::KeySpace,
    record::{DecodeError, Key, Record},
};

use super::{freezable::Freezable, frozen::Frozen, hash::KeyHash, table::Table};

/// A full segment is split, unless it is down to one key group. Seven eighths of a power of two: what the hash table
/// takes before it grows.
const SEGMENT_ENTRIES_MAX: usize = 3584;

/// What takes no more memory than this is in the processor's caches anyway: looking ahead in it costs more than it saves.
const NEAR_BYTES_MAX: usize = 2 << 20;

/// The entries of consecutive key groups: the unit of copy-on-write.
struct Segment<K, V> {
    groups: Range<u32>,
    table: Freezable<Table<K, V>>,
}

/// Where an entry is, or was: it may have moved since, so its key is compared.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    segment: u32,
    entry: u32,
}

impl Slot {
    /// Nowhere in particular.
    pub(super) const NONE: Self = Self { segment: 0, entry: u32::MAX };

    #[inline]
    pub(super) fn is_none(self) -> bool {
        self.entry == u32::MAX
    }

    #[inline]
    fn new(segment: u32, entry: usize) -> Self {
        Self { segment, entry: u32::try_from(entry).unwrap_or(u32::MAX) }
    }
}

/// The entries of a subtask's keys. Begins as one small table and is split by key group as it grows, so that a window
/// with one key is as cheap as it should be and a checkpoint never makes a write copy much.
pub(super) struct KeyedTable<K, V> {
    space: KeySpace,
    seed: HashSeed,
    segments: Vec<Segment<K, V>>,
    /// Segment by key group, counted from the first one; empty while there is only one segment.
    directory: Vec<u16>,
}

impl<K: Key, V: Record> KeyedTable<K, V> {
    pub(super) fn new(space: KeySpace, seed: HashSeed) -> Self {
        let all = Segment { groups: space.groups.as_range(), table: Freezable::default() };
        Self { space, seed, segments: vec![all], directory: Vec::new() }
    }

    #[inline]
    fn segment(&self, hash: KeyHash) -> u32 {
        if self.directory.is_empty() {
            return 0;
        }
        u32::from(
            self.directory[(self.space.group(hash.group).wrapping_sub(self.space.groups.start)) as usize],
        )
    }

    #[inline]
    fn table(&self, segment: u32) -> &Table<K, V> {
        self.segments[segment as usize].table.read()
    }

    /// Whether the table is so small that entries need not be brought nearer.
    #[inline]
    pub(super) fn is_near(&self) -> bool {
        let entries_max = NEAR_BYTES_MAX / size_of::<(K, V)>().max(1);
        self.segments.len() * SEGMENT_ENTRIES_MAX <= entries_max
    }

    /// First step of bringing the entry of a key with this hash nearer: what tells where it is.
    #[inline]
    pub(super) fn prefetch_tags(&self, hash: KeyHash) -> Slot {
        let segment = self.segment(hash);
        self.table(segment).prefetch_tags(hash.table);
        Slot { segment, ..Slot::NONE }
    }

    /// Second step: the entry itself. Returns where it probably is.
    #[inline]
    pub(super) fn prefetch_entry(&self, hash: KeyHash, first_step: Slot) -> Slot {
        let entry = self.table(first_step.segment).prefetch(hash.table);
        entry.map_or(Slot::NONE, |entry| Slot::new(first_step.segment, entry))
    }

    /// Whether `slot` has the entry of `key` and [`Self::value_mut`] costs no copy.
    #[inline]
    pub(super) fn is_at_hand(&self, slot: Slot, key: &K) -> bool {
        let table = self.segments.get(slot.segment as usize).and_then(|segment| segment.table.owned());
        table.is_some_and(|table| table.is_at(slot.entry as usize, key))
    }

    /// The value of a key, to look at: without a copy.
    #[inline]
    pub(super) fn find_value(&self, hash: KeyHash, key: &K) -> Option<&V> {
        self.table(self.segment(hash)).find_value(hash.table, key)
    }

    /// The value of `key`, to look at, if `slot` has its entry.
    #[inline]
    pub(super) fn value_at(&self, slot: Slot, key: &K) -> Option<&V> {
        self.segments.get(slot.segment as usize)?.table.read().value_at(slot.entry as usize, key)
    }

    /// The value of a key.
    #[inline]
    pub(super) fn find_mut(&mut self, hash: KeyHash, key: &K) -> Option<&mut V> {
        let segment = self.segment(hash);
        let table = &mut self.segments[segment as usize].table;
        // Only what is there is worth a copy.
        if let Freezable::Shared(frozen) = table {
            frozen.find(hash.table, key)?;
        }
        table.write().find_mut(hash.table, key)
    }

    /// Where the entry of a key is.
    pub(super) fn find(&self, hash: KeyHash, key: &K) -> Option<Slot> {
        let segment = self.segment(hash);
        self.table(segment).find(hash.table, key).map(|entry| Slot::new(segment, entry))
    }

    #[inline]
    pub(super) fn value_mut(&mut self, slot: Slot) -> &mut V {
        self.segments[slot.segment as usize].table.write().value_mut(slot.entry as usize)
    }

    /// Adds a key that is not there.
    pub(super) fn insert(&mut self, hash: KeyHash, key: K, value: V) -> Slot {
        let mut segment = self.segment(hash);
        while self.is_full(segment) {
            self.split(segment);
            segment = self.segment(hash);
        }
        let entry = self.segments[segment as usize].table.write().insert(hash.table, key, value, self.seed);
        Slot::new(segment, entry)
    }

    /// Removes a key; returns its value.
    pub(super) fn remove(&mut self, hash: KeyHash, key: &K) -> Option<V> {
        let slot = self.find(hash, key)?;
        self.segments[slot.segment as usize].table.write().remove(hash.table, key, self.seed)
    }

    #[inline]
    fn is_full(&self, segment: u32) -> bool {
        let segment = &self.segments[segment as usize];
        segment.table.read().len() >= SEGMENT_ENTRIES_MAX && segment.groups.len() > 1
    }

    #[cold]
    fn split(&mut self, number: u32) {
        let (space, seed) = (self.space, self.seed);
        let new = u16::try_from(self.segments.len()).expect("there are at most 32768 key groups");
        let segment = &mut self.segments[number as usize];
        let Range { start, end } = segment.groups;
        let middle = start.midpoint(end);
        let (mut lower, mut upper) = (Table::default(), Table::with_capacity(SEGMENT_ENTRIES_MAX / 2));
        let mut scratch = Vec::new();
        segment.table.write().drain(&mut |key, value| {
            let hash = KeyHash::of(&key, seed, &mut scratch);
            let half = if space.group(hash.group) < middle { &mut lower } else { &mut upper };
            half.insert(hash.table, key, value, seed);
            true
        });
        segment.groups = start..middle;
        segment.table = Freezable::Owned(lower);
        self.segments.push(Segment { groups: middle..end, table: Freezable::Owned(upper) });
        self.directory.resize(space.groups.len(), 0);
        let first = space.groups.start;
        self.directory[(middle - first) as usize..(end - first) as usize].fill(new);
    }

    /// The content as it is now.
    pub(super) fn freeze(&mut self) -> Frozen<K, V> {
        let filled = self.segments.iter_mut().filter(|segment| segment.table.read().len() > 0);
        let tables = filled.map(|segment| (segment.groups.clone(), segment.table.freeze())).collect();
        Frozen::new(self.space.max_parallelism, tables)
    }

    /// Removes entries, `at_least` so many if there are, and visits them until the visitor returns `false`; whether all are
    /// removed. Goes by segments. Keeps memory that is ours alone.
    pub(super) fn drain(&mut self, at_least: usize, visitor: &mut dyn FnMut(&K, V) -> bool) -> bool {
        let mut removed = 0;
        for segment in self.segments.iter_mut().filter(|segment| segment.table.read().len() > 0) {
            if removed >= at_least {
                return false;
            }
            removed += segment.table.read().len();
            let wants_more = match std::mem::take(&mut segment.table).into_owned() {
                Ok(mut table) => {
                    let wants_more = table.drain(&mut |key, value| visitor(&key, value));
                    segment.table = Freezable::Owned(table);
                    wants_more
                }
                Err(shared) => shared.iter().all(|(key, value)| visitor(key, value.duplicate())),
            };
            if !wants_more {
                return false;
            }
        }
        true
    }

    /// Adds a restored entry.
    ///
    /// # Errors
    /// When the key lies in a foreign group or is there already.
    pub(super) fn restore(&mut self, group: KeyGroup, key: K, value: V) -> Result<(), DecodeError> {
        let hash = KeyHash::of(&key, self.seed, &mut Vec::new());
        self.space.check(hash.group, group)?;
        if self.find(hash, &key).is_some() {
            return Err(DecodeError::Invalid("a key is there twice"));
        }
        self.insert(hash, key, value);
        Ok(())
    }
}
