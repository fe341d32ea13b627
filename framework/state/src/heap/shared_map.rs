use std::{collections::BTreeMap, sync::Arc};

use flott_core::{
    Schema,
    record::{DecodeError, ForeignCheck, Record, Unreadable},
};

/// Entries that are copied with their segment: what a node of a `BTreeMap` holds, so that copying one costs about as
/// much as copying a value.
const SMALL_ENTRIES_MAX: usize = 11;

/// The map of one key. A large one is shared with a checkpoint by itself, so that a copy of its segment does not copy
/// it: a write copies the map that it changes, and no other.
pub(super) enum SharedMap<M, V> {
    Small(BTreeMap<M, V>),
    Large(Arc<BTreeMap<M, V>>),
}

impl<M: Record + Ord, V: Record> SharedMap<M, V> {
    pub(super) fn new(map: BTreeMap<M, V>) -> Self {
        if map.len() <= SMALL_ENTRIES_MAX { Self::Small(map) } else { Self::Large(Arc::new(map)) }
    }

    /// To look at.
    pub(super) fn read(&self) -> &BTreeMap<M, V> {
        match self {
            Self::Small(map) => map,
            Self::Large(map) => map,
        }
    }

    /// To change.
    fn write(&mut self) -> &mut BTreeMap<M, V> {
        match self {
            Self::Small(map) => map,
            Self::Large(map) => {
                if Arc::get_mut(map).is_none() {
                    *map = Arc::new(map.duplicate());
                }
                Arc::get_mut(map).expect("it is ours alone, see above")
            }
        }
    }

    pub(super) fn get_mut(&mut self, map_key: &M) -> Option<&mut V> {
        if self.would_copy_for_nothing(map_key) { None } else { self.write().get_mut(map_key) }
    }

    pub(super) fn remove(&mut self, map_key: &M) -> Option<V> {
        if self.would_copy_for_nothing(map_key) { None } else { self.write().remove(map_key) }
    }

    /// Returns `true` if a checkpoint reads the map, and it has no such entry to change.
    fn would_copy_for_nothing(&self, map_key: &M) -> bool {
        matches!(self, Self::Large(map) if Arc::strong_count(map) > 1 && !map.contains_key(map_key))
    }

    pub(super) fn insert(&mut self, map_key: M, value: V) -> Option<V> {
        let replaced = self.write().insert(map_key, value);
        if let Self::Small(map) = self
            && map.len() > SMALL_ENTRIES_MAX
        {
            *self = Self::new(std::mem::take(map));
        }
        replaced
    }
}

/// As the map.
impl<M: Record + Ord, V: Record> Record for SharedMap<M, V> {
    const FIXED_SIZE: Option<usize> = None;

    fn schema() -> Schema {
        BTreeMap::<M, V>::schema()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.read().encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        BTreeMap::decode(input).map(Self::new)
    }

    fn duplicate(&self) -> Self {
        match self {
            Self::Small(map) => Self::Small(map.duplicate()),
            Self::Large(map) => Self::Large(Arc::clone(map)),
        }
    }

    fn check_foreign(&self, check: &mut ForeignCheck) -> Result<(), Unreadable> {
        self.read().check_foreign(check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(entries: u32) -> SharedMap<u32, String> {
        let mut map = SharedMap::new(BTreeMap::new());
        (0..entries).for_each(|key| assert_eq!(map.insert(key, key.to_string()), None));
        map
    }

    #[test]
    fn a_duplicate_does_not_see_what_is_written_later() {
        for entries in [3, 11, 12, 300] {
            let mut map = filled(entries);
            let frozen = map.duplicate();
            assert_eq!(map.insert(0, "changed".into()), Some("0".into()));
            assert_eq!(map.remove(&2), Some("2".into()));
            assert_eq!(frozen.read(), filled(entries).read());
            assert_eq!((map.read().len(), &map.read()[&0][..]), (entries as usize - 1, "changed"));
        }
    }

    #[test]
    fn a_large_map_is_copied_when_it_is_written_to_while_it_is_shared() {
        let mut map = filled(300);
        let place = |map: &SharedMap<u32, String>| std::ptr::from_ref(map.read());
        let before = place(&map);
        let frozen = map.duplicate();
        assert_eq!(place(&frozen), before);
        assert_eq!(map.remove(&300), None);
        assert_eq!(map.get_mut(&300), None);
        assert_eq!(place(&map), before);
        map.write();
        assert_ne!(place(&map), before);
        drop(frozen);
        let alone = place(&map);
        map.write();
        assert_eq!(place(&map), alone);
    }
}
