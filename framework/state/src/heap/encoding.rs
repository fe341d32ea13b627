//! How the entries of one key group are encoded: their number as `u64`, then one after the other.

use flott_core::{
    Error, ErrorKind, KeyGroup, KeyGroupRange, Result,
    record::{DecodeError, ForeignCheck, Record},
    snapshot::{KeyedSnapshotSink, RestoredKeyed, RestoredOperator, StateContent, StateSnapshot, WriteKeyed},
    state::{StateDeclaration, damaged},
};

/// A keyed state's snapshot, to be written by `write`.
pub(super) fn keyed_snapshot(declaration: &StateDeclaration, write: WriteKeyed) -> StateSnapshot {
    StateSnapshot { declaration: declaration.clone(), content: StateContent::Keyed(write) }
}

/// Collects the encodings of one group's entries. The first value of each foreign type in a group is read back, so that
/// no checkpoint is completed that cannot be restored.
pub(super) struct GroupEncoder {
    entries: u64,
    bytes: Vec<u8>,
    check: ForeignCheck,
}

impl GroupEncoder {
    fn new(declaration: &StateDeclaration) -> Self {
        let entry = declaration.entry_schema();
        let check = ForeignCheck::new(entry.as_ref().unwrap_or(&declaration.schema));
        Self { entries: 0, bytes: Vec::new(), check }
    }

    /// Adds an entry, which comes in parts.
    pub(super) fn entry<A: Record, B: Record, C: Record>(&mut self, parts: (&A, &B, &C)) -> Result<()> {
        self.begin();
        self.entries += 1;
        self.check(parts.1)?;
        self.check(parts.2)?;
        parts.0.encode(&mut self.bytes);
        parts.1.encode(&mut self.bytes);
        parts.2.encode(&mut self.bytes);
        Ok(())
    }

    /// Adds keys with their values, in one go where their size is fixed.
    pub(super) fn pairs<K: Record, V: Record>(&mut self, pairs: &[(&K, &V)]) -> Result<()> {
        self.begin();
        if self.check.is_needed() {
            for (key, value) in pairs {
                self.check(*key)?;
                self.check(*value)?;
            }
        }
        self.entries += pairs.len() as u64;
        match (K::FIXED_SIZE, V::FIXED_SIZE) {
            (Some(key_size), Some(value_size)) if key_size + value_size > 0 => {
                let start = self.bytes.len();
                self.bytes.resize(start + pairs.len() * (key_size + value_size), 0);
                let chunks = self.bytes[start..].chunks_exact_mut(key_size + value_size);
                for ((key, value), chunk) in pairs.iter().zip(chunks) {
                    let (key_bytes, value_bytes) = chunk.split_at_mut(key_size);
                    key.encode_fixed(key_bytes);
                    value.encode_fixed(value_bytes);
                }
            }
            _ => pairs.iter().for_each(|(key, value)| {
                key.encode(&mut self.bytes);
                value.encode(&mut self.bytes);
            }),
        }
        Ok(())
    }

    fn check<T: Record>(&mut self, part: &T) -> Result<()> {
        let unreadable = |error| Error::from(error).with_kind(ErrorKind::State);
        self.check.record(part).map_err(unreadable)
    }

    fn begin(&mut self) {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(&[0; size_of::<u64>()]);
        }
    }

    /// Hands a finished group to `sink`, unless it is empty, and begins the next one.
    pub(super) fn finish(&mut self, group: u32, sink: &mut dyn KeyedSnapshotSink) -> Result<()> {
        if self.entries > 0 {
            self.bytes[..size_of::<u64>()].copy_from_slice(&self.entries.to_le_bytes());
            sink.key_group(KeyGroup(group_number(group)), self.entries, &self.bytes)?;
        }
        self.entries = 0;
        self.bytes.clear();
        self.check.begin();
        Ok(())
    }
}

fn group_number(group: u32) -> u16 {
    u16::try_from(group).expect("there are at most 32768 key groups")
}

/// Writes all groups of a range; `encode` adds the entries of one.
pub(super) fn write_groups(
    declaration: &StateDeclaration,
    groups: KeyGroupRange,
    sink: &mut dyn KeyedSnapshotSink,
    mut encode: impl FnMut(u32, &mut GroupEncoder) -> Result<()>,
) -> Result<()> {
    let mut encoder = GroupEncoder::new(declaration);
    for group in groups.as_range() {
        encode(group, &mut encoder)?;
        encoder.finish(group, sink)?;
    }
    Ok(())
}

/// Takes a state's entries out of what was restored and gives each, with its group, to `add`.
pub(super) fn restore_entries<E: Record>(
    declaration: &StateDeclaration,
    restored: &mut RestoredOperator,
    mut add: impl FnMut(KeyGroup, E) -> Result<(), DecodeError>,
) -> Result<()> {
    let RestoredKeyed { groups, .. } = restored.take_keyed(declaration)?;
    for (group, bytes) in groups {
        decode_group(&bytes, |entry| add(group, entry))
            .map_err(|error| damaged(&declaration.name, group, &error))?;
    }
    Ok(())
}

fn decode_group<E: Record>(
    mut input: &[u8],
    mut add: impl FnMut(E) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    for _ in 0..u64::decode(&mut input)? {
        add(E::decode(&mut input)?)?;
    }
    if input.is_empty() { Ok(()) } else { Err(DecodeError::Invalid("bytes follow the last entry")) }
}

#[cfg(test)]
mod tests {
    use flott_core::{
        Schema,
        record::{Unreadable, decode_foreign, encode_foreign},
    };
    use serde::{Deserialize, Deserializer, Serialize};

    use super::*;

    #[derive(Default)]
    struct Groups(Vec<(u16, u64, Vec<u8>)>);

    impl KeyedSnapshotSink for Groups {
        fn key_group(&mut self, group: KeyGroup, entries: u64, bytes: &[u8]) -> Result<()> {
            self.0.push((group.0, entries, bytes.to_vec()));
            Ok(())
        }
    }

    #[test]
    fn empty_groups_are_left_out_and_others_begin_with_their_count() {
        let mut groups = Groups::default();
        let range = KeyGroupRange { start: 4, end: 7 };
        write_groups(&StateDeclaration::value::<(), u8>("state"), range, &mut groups, |group, encoder| {
            if group != 5 {
                encoder.entry((&(), &1u8, &()))?;
                encoder.pairs(&[(&2u8, &3u8)])?;
            }
            Ok(())
        })
        .unwrap();
        let expected = vec![2, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3];
        assert_eq!(groups.0, [(4, 2, expected.clone()), (6, 2, expected)]);
    }

    #[test]
    fn a_wrong_count_is_damage() {
        let group = |count: u64, bytes: &[u8]| {
            let bytes = [&count.to_le_bytes()[..], bytes].concat();
            decode_group::<u8>(&bytes, |_| Ok(()))
        };
        assert_eq!(group(2, &[1, 2]), Ok(()));
        assert_eq!(group(3, &[1, 2]), Err(DecodeError::UnexpectedEnd));
        assert!(matches!(group(1, &[1, 2]), Err(DecodeError::Invalid(_))));
        assert_eq!(decode_group::<u8>(&[1], |_| Ok(())), Err(DecodeError::UnexpectedEnd));
    }

    /// A foreign type of which only tens are read back.
    #[derive(Serialize, Deserialize)]
    struct Tens(#[serde(deserialize_with = "tens")] u64);

    fn tens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        u64::deserialize(deserializer).map(|number| number / 10 * 10)
    }

    impl Record for Tens {
        const FIXED_SIZE: Option<usize> = None;
        fn schema() -> Schema {
            Schema::Foreign { name: "Tens".into(), version: 1 }
        }
        fn encode(&self, out: &mut Vec<u8>) {
            encode_foreign(self, out);
        }
        fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
            decode_foreign(input)
        }
        fn duplicate(&self) -> Self {
            Self(self.0)
        }
        fn check_foreign(&self, check: &mut ForeignCheck) -> Result<(), Unreadable> {
            check.value(self)
        }
    }

    /// Writes three key groups, of one entry each.
    fn write(values: [u64; 3], encode: fn(&mut GroupEncoder, &Tens) -> Result<()>) -> Result<()> {
        let declaration = StateDeclaration::value::<u64, Tens>("tens");
        let groups = KeyGroupRange { start: 0, end: 3 };
        write_groups(&declaration, groups, &mut Groups::default(), |group, encoder| {
            encode(encoder, &Tens(values[group as usize]))
        })
    }

    #[test]
    fn the_first_foreign_value_of_each_key_group_is_read_back() {
        for encode in [
            |encoder: &mut GroupEncoder, value: &Tens| encoder.pairs(&[(&1u64, value)]),
            |encoder: &mut GroupEncoder, value: &Tens| encoder.entry((&1u64, value, &())),
        ] {
            write([10, 20, 30], encode).unwrap();
            for values in [[11, 20, 30], [10, 21, 30], [10, 20, 31]] {
                let error = write(values, encode).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::State);
                assert!(error.to_string().contains("type `Tens`"), "{error}");
            }
        }
    }
}
