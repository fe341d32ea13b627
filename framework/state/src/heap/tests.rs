//! The tables against models, with checkpoints in between and restores at other parallelisms.

use std::{collections::BTreeMap, sync::Arc};

use flott_core::{
    ErrorKind, EventTime, KeyGroup, MaxParallelism, Result, SubtaskIndex,
    hash::HashSeed,
    key_group::KeySpace,
    record::{Key, Record},
    snapshot::{KeyedSnapshotSink, RestoredKeyed, RestoredOperator, StateContent, StateSnapshot, Written},
    state::{
        KeyBatch, KeyedState, MapTable, SharedKeys, StateBackend, StateDeclaration, TimeDomain, ValueTable,
    },
    testkit::Random,
};

use super::HeapBackend;

const SEED: HashSeed = HashSeed::new(0x5EED, 0xFAC7);
const STATE: &str = "state";

#[derive(Default)]
struct Groups(Vec<(KeyGroup, Vec<u8>)>);

impl KeyedSnapshotSink for Groups {
    fn key_group(&mut self, group: KeyGroup, entries: u64, bytes: &[u8]) -> Result<()> {
        assert!(entries > 0);
        assert!(self.0.last().is_none_or(|(last, _)| *last < group), "groups ascend");
        self.0.push((group, bytes.to_vec()));
        Ok(())
    }
}

fn write(snapshot: StateSnapshot) -> RestoredKeyed {
    let StateContent::Keyed(write) = snapshot.content else { panic!("keyed state writes keyed content") };
    let mut groups = Groups::default();
    write(&mut groups).unwrap();
    RestoredKeyed { written: Some(Written::Declared(snapshot.declaration)), groups: groups.0 }
}

/// What `subtask` of `parallelism` gets of the snapshots of a former parallelism.
fn share(snapshots: &[RestoredKeyed], keys: KeySpace) -> RestoredOperator {
    let groups = snapshots.iter().flat_map(|snapshot| &snapshot.groups);
    let groups = groups.filter(|(group, _)| keys.groups.contains(*group)).cloned().collect();
    let written = snapshots.first().and_then(|snapshot| snapshot.written.clone());
    RestoredOperator { keyed: BTreeMap::from([(STATE.to_owned(), RestoredKeyed { written, groups })]) }
}

/// Tables of all subtasks, addressed as one.
struct Subtasks<T: ?Sized> {
    max_parallelism: MaxParallelism,
    tables: Vec<Box<T>>,
}

impl<T: KeyedState + ?Sized> Subtasks<T> {
    fn new(
        parallelism: u32,
        snapshots: &[RestoredKeyed],
        make: impl Fn(KeySpace, &mut RestoredOperator) -> Result<Box<T>>,
    ) -> Self {
        let max_parallelism = MaxParallelism::new(128).unwrap();
        let tables = (0..parallelism).map(|subtask| {
            let key_groups = max_parallelism.key_groups(SubtaskIndex(subtask), parallelism);
            let keys = KeySpace { groups: key_groups, max_parallelism };
            make(keys, &mut share(snapshots, keys)).unwrap()
        });
        Self { max_parallelism, tables: tables.collect() }
    }

    /// Gives each table its share of `keys` as a batch, and `work` each key's position in it.
    fn batch<K: Key>(&mut self, keys: &[K], random: &mut Random, mut work: impl FnMut(&mut T, usize, &K)) {
        let parallelism = u32::try_from(self.tables.len()).unwrap();
        for (subtask, table) in (0..).map(SubtaskIndex).zip(&mut self.tables) {
            let mut batch = KeyBatch::default();
            for key in keys {
                let group = self.max_parallelism.key_group(key.key_hash());
                if self.max_parallelism.subtask(group, parallelism) == subtask {
                    batch.push(key.duplicate());
                }
            }
            let batch = Arc::new(batch);
            table.begin_batch(Arc::clone(&batch) as SharedKeys);
            if random.below(2) == 0 {
                table.prefetch(0..keys.len());
            }
            for (at, key) in batch.keys.iter().enumerate() {
                work(table, at, key);
            }
            table.end_batch();
            assert_eq!(Arc::strong_count(&batch), 1, "the engine fills the batch again");
        }
    }

    fn snapshot(&mut self) -> Vec<StateSnapshot> {
        self.tables.iter_mut().map(|table| table.snapshot()).collect()
    }
}

/// Keys of varying length from a small or a large domain.
fn random_keys(random: &mut Random, domain: u64) -> Vec<String> {
    (0..random.below(40)).map(|_| format!("key-{}", random.below(domain))).collect()
}

#[test]
fn value_tables_agree_with_a_map_through_checkpoints_and_rescaling() {
    for (seed, domain) in [(1, 10), (2, 400), (3, 20_000)] {
        let make = |keys: KeySpace, restored: &mut RestoredOperator| {
            HeapBackend::new(SEED).value::<String, u64>(
                &StateDeclaration::value::<String, u64>(STATE),
                keys,
                restored,
            )
        };
        let mut random = Random::new(seed);
        let mut model = BTreeMap::<String, u64>::new();
        let mut subtasks = Subtasks::new(1, &[], make);
        for parallelism in [3, 2, 1] {
            let mut snapshot = subtasks.snapshot();
            let mut frozen = model.clone();
            for step in 0..600 {
                if random.below(50) == 0 {
                    snapshot = subtasks.snapshot();
                    frozen = model.clone();
                }
                let keys = random_keys(&mut random, domain);
                let choices: Vec<_> = (0..keys.len()).map(|_| random.below(5)).collect();
                let mut choices = choices.into_iter();
                subtasks.batch(&keys, &mut random, |table, at, key| {
                    let choice = choices.next();
                    if choice == Some(4) {
                        table.update(at..at + 1, &mut |updated, value| {
                            assert_eq!((updated, value.as_deref()), (at, model.get(key)));
                            value.map(|value| *value = step).is_none().then_some(step)
                        });
                        model.insert(key.clone(), step);
                    }
                    assert_eq!(table.get(at).copied(), model.get(key).copied());
                    match choice {
                        Some(4) => {}
                        Some(0) => {
                            table.clear(at);
                            model.remove(key);
                        }
                        Some(1) => {
                            if let (Some(value), Some(expected)) = (table.get_mut(at), model.get_mut(key)) {
                                *value += 1;
                                *expected += 1;
                            }
                        }
                        _ => {
                            assert_eq!(*table.set(at, step), step);
                            model.insert(key.clone(), step);
                        }
                    }
                });
            }
            let written: Vec<_> = snapshot.into_iter().map(write).collect();
            subtasks = Subtasks::new(parallelism, &written, make);
            model = frozen;
        }
        let keys: Vec<_> = (0..domain).map(|key| format!("key-{key}")).collect();
        subtasks.batch(&keys, &mut random, |table, at, key| {
            assert_eq!(table.get(at).copied(), model.get(key).copied());
        });
    }
}

#[test]
fn map_tables_agree_with_a_map_of_maps() {
    let make = |keys: KeySpace, restored: &mut RestoredOperator| {
        HeapBackend::new(SEED).map::<u32, u8, String>(
            &StateDeclaration::map::<u32, u8, String>(STATE),
            keys,
            restored,
        )
    };
    let mut random = Random::new(7);
    let mut model = BTreeMap::<u32, BTreeMap<u8, String>>::new();
    let mut subtasks = Subtasks::new(1, &[], make);
    for parallelism in [3, 2] {
        let mut snapshot = Vec::new();
        let mut frozen = BTreeMap::new();
        for step in 0..4_000 {
            if step == 2_000 {
                snapshot = subtasks.snapshot();
                frozen = model.clone();
            }
            let key = u32::try_from(random.below(300)).unwrap();
            let map_key = u8::try_from(random.below(5)).unwrap();
            let choice = random.below(8);
            subtasks.batch(&[key], &mut random, |table, at, key| {
                let expected = model.entry(*key).or_default();
                assert_eq!(table.len(at), expected.len());
                match choice {
                    0 => {
                        table.clear(at);
                        expected.clear();
                    }
                    1 | 2 => assert_eq!(table.remove(at, &map_key), expected.remove(&map_key)),
                    3 => {
                        assert_eq!(table.get(at, &map_key), expected.get(&map_key));
                        assert_eq!(table.get_mut(at, &map_key), expected.get_mut(&map_key));
                    }
                    4 => {
                        let mut seen = Vec::new();
                        table.visit(at, &mut |map_key, value| {
                            seen.push((*map_key, value.clone()));
                            seen.len() < 3
                        });
                        assert_eq!(seen, expected.clone().into_iter().take(3).collect::<Vec<_>>());
                    }
                    _ => {
                        let value = format!("{step}");
                        assert_eq!(table.insert(at, map_key, value.clone()), expected.insert(map_key, value));
                    }
                }
            });
        }
        let written: Vec<_> = snapshot.into_iter().map(write).collect();
        subtasks = Subtasks::new(parallelism, &written, make);
        model = frozen;
    }
    let keys: Vec<_> = (0..300).collect();
    subtasks.batch(&keys, &mut random, |table, at, key| {
        let mut seen = BTreeMap::new();
        table.visit(at, &mut |map_key, value| seen.insert(*map_key, value.clone()).is_none());
        assert_eq!(seen, model.get(key).cloned().unwrap_or_default());
    });
}

#[test]
fn timer_tables_agree_with_a_sorted_list() {
    let make = |keys: KeySpace, restored: &mut RestoredOperator| {
        HeapBackend::new(SEED).timers::<u64>(
            &StateDeclaration::timer::<u64>(STATE, TimeDomain::EventTime),
            keys,
            restored,
        )
    };
    let mut random = Random::new(11);
    let mut model = std::collections::BTreeSet::<(i64, u64)>::new();
    let mut subtasks = Subtasks::new(1, &[], make);
    for parallelism in [3, 1] {
        let mut snapshot = Vec::new();
        let mut frozen = std::collections::BTreeSet::new();
        for step in 0..8_000 {
            if step == 4_000 {
                snapshot = subtasks.snapshot();
                frozen = model.clone();
            }
            let key = random.below(200);
            let time = i64::try_from(random.below(50)).unwrap() - 10;
            let is_register = random.below(3) > 0;
            subtasks.batch(&[key], &mut random, |table, at, key| {
                if is_register {
                    table.register(at, time);
                    model.insert((time, *key));
                } else {
                    assert_eq!(table.delete(at, time), model.remove(&(time, *key)));
                }
            });
            let next = subtasks.tables.iter().filter_map(|table| table.next_time()).min();
            assert_eq!(next, model.first().map(|(time, _)| *time));
        }
        let written: Vec<_> = snapshot.into_iter().map(write).collect();
        subtasks = Subtasks::new(parallelism, &written, make);
        model = frozen;
    }
    let table = &mut subtasks.tables[0];
    let mut times = vec![1];
    assert!(!model.is_empty());
    for (until, limit) in [(i64::MIN, 9), (0, 7), (20, usize::MAX), (i64::MAX, 0), (i64::MAX, usize::MAX)] {
        let keys = table.due(until, limit, &mut times).downcast::<KeyBatch<u64>>().unwrap();
        assert!(times.is_sorted());
        assert_eq!(keys.hashes.len(), keys.keys.len());
        let due: Vec<_> = model.iter().filter(|(time, _)| *time <= until).collect();
        assert_eq!(times, due.iter().take(limit).map(|(time, _)| *time).collect::<Vec<_>>());
        assert!(times.iter().zip(&keys.keys).all(|(time, key)| model.contains(&(*time, *key))));
    }
}

#[test]
fn due_timers_are_deleted_one_by_one() {
    let make = |keys: KeySpace, restored: &mut RestoredOperator| {
        HeapBackend::new(SEED).timers::<String>(
            &StateDeclaration::timer::<String>(STATE, TimeDomain::EventTime),
            keys,
            restored,
        )
    };
    let mut random = Random::new(13);
    let mut subtasks = Subtasks::new(1, &[], make);
    let keys = ["a", "b", "c"].map(String::from);
    subtasks.batch(&keys, &mut random, |table, at, _| {
        table.register(at, i64::MAX);
        table.register(at, 5);
        table.register(at, 5);
    });
    let table = &mut subtasks.tables[0];
    let mut times = Vec::new();
    let mut fired = Vec::new();
    while table.next_time().is_some() {
        let due = table.due(i64::MAX, 2, &mut times);
        let keys = Arc::clone(&due).downcast::<KeyBatch<String>>().unwrap();
        table.begin_batch(due);
        for (at, &time) in times.iter().enumerate() {
            assert!(table.delete(at, time));
            fired.push((time, keys.keys[at].clone()));
        }
        table.end_batch();
    }
    assert_eq!(
        fired.iter().map(|(time, _)| *time).collect::<Vec<_>>(),
        [5, 5, 5, i64::MAX, i64::MAX, i64::MAX]
    );
}

#[test]
fn window_tables_agree_with_a_map() {
    let make = |keys: KeySpace, restored: &mut RestoredOperator| {
        HeapBackend::new(SEED).windows::<u64, u64>(
            &StateDeclaration::window::<u64, u64>(STATE),
            keys,
            restored,
        )
    };
    let mut random = Random::new(17);
    let mut model = BTreeMap::<EventTime, BTreeMap<u64, u64>>::new();
    let mut subtasks = Subtasks::new(1, &[], make);
    for parallelism in [3, 2, 1] {
        let mut snapshot = subtasks.snapshot();
        let mut frozen = model.clone();
        for step in 0..2_000 {
            if step % 500 == 250 {
                snapshot = subtasks.snapshot();
                frozen = model.clone();
            }
            let keys: Vec<_> = (0..20).map(|_| random.below(3_000)).collect();
            let base = i64::try_from(random.below(6)).unwrap() * 60;
            subtasks.batch(&keys, &mut random, |table, at, key| {
                let window = EventTime(base + i64::from(key % 10 == 0) * 60);
                let entries = model.get(&window);
                let current = table.get(window, at).copied();
                assert_eq!(current, entries.and_then(|entries| entries.get(key)).copied());
                let sum = current.unwrap_or(0) + 1;
                if step % 2 == 0 {
                    table.set(window, at, sum);
                } else {
                    let add = &mut |_, value: Option<&mut u64>| {
                        value.map(|value| *value += 1).is_none().then_some(1)
                    };
                    table.update(window, at..at + 1, add);
                }
                model.entry(window).or_default().insert(*key, sum);
            });
            let first = subtasks.tables.iter().filter_map(|table| table.first_window()).min();
            assert_eq!(first, model.keys().next().copied());
            if random.below(20) == 0 {
                let window = EventTime(base);
                let mut taken = BTreeMap::new();
                for table in &mut subtasks.tables {
                    let mut before = usize::MAX;
                    while taken.len() != before {
                        before = taken.len();
                        let mut visit = |key: &u64, sum| {
                            assert_eq!(taken.insert(*key, sum), None);
                            Ok(())
                        };
                        table.take_window(window, 7, &mut visit).unwrap();
                    }
                }
                assert_eq!(taken, model.remove(&window).unwrap_or_default());
            }
        }
        let written: Vec<_> = snapshot.into_iter().map(write).collect();
        subtasks = Subtasks::new(parallelism, &written, make);
        model = frozen;
    }
    for (window, entries) in model {
        let mut taken = BTreeMap::new();
        let visit = &mut |key: &u64, sum| {
            taken.insert(*key, sum);
            Ok(())
        };
        subtasks.tables[0].take_window(window, usize::MAX, visit).unwrap();
        assert_eq!(taken, entries);
    }
    assert_eq!(subtasks.tables[0].first_window(), None);
}

#[test]
fn a_read_during_a_checkpoint_copies_nothing() {
    let make_values = |keys: KeySpace, restored: &mut RestoredOperator| {
        HeapBackend::new(SEED).value::<u64, u64>(&StateDeclaration::value::<u64, u64>(STATE), keys, restored)
    };
    let make_maps = |keys: KeySpace, restored: &mut RestoredOperator| {
        HeapBackend::new(SEED).map::<u64, u8, u64>(
            &StateDeclaration::map::<u64, u8, u64>(STATE),
            keys,
            restored,
        )
    };
    // Few keys are looked up plainly, many are looked ahead for.
    for (count, seed) in [(10, 1), (10, 2), (300_000, 1), (300_000, 2), (300_000, 3), (300_000, 4)] {
        let keys: Vec<u64> = (0..count).collect();
        let mut values = Subtasks::new(1, &[], make_values);
        let mut maps = Subtasks::new(1, &[], make_maps);
        values.batch(&keys, &mut Random::new(1), |table, at, key| _ = table.set(at, *key));
        maps.batch(&keys, &mut Random::new(1), |table, at, key| _ = table.insert(at, 1, *key));
        let some = &keys[..10];
        let value_addresses = |subtasks: &mut Subtasks<dyn ValueTable<u64>>| {
            let mut addresses = Vec::new();
            subtasks.batch(some, &mut Random::new(seed), |table, at, _| {
                addresses.push(std::ptr::from_ref(table.get(at).unwrap()).addr());
            });
            addresses
        };
        let map_addresses = |subtasks: &mut Subtasks<dyn MapTable<u8, u64>>| {
            let mut addresses = Vec::new();
            subtasks.batch(some, &mut Random::new(seed), |table, at, _| {
                assert_eq!((table.len(at), table.get(at, &2)), (1, None));
                table.visit(at, &mut |_, value| {
                    addresses.push(std::ptr::from_ref(value).addr());
                    true
                });
                addresses.push(std::ptr::from_ref(table.get(at, &1).unwrap()).addr());
            });
            addresses
        };
        let before = (value_addresses(&mut values), map_addresses(&mut maps));
        let frozen = (values.snapshot(), maps.snapshot());
        assert_eq!((value_addresses(&mut values), map_addresses(&mut maps)), before);
        values.batch(some, &mut Random::new(3), |table, at, _| *table.get_mut(at).unwrap() += 1);
        maps.batch(some, &mut Random::new(3), |table, at, _| *table.get_mut(at, &1).unwrap() += 1);
        assert_ne!((value_addresses(&mut values), map_addresses(&mut maps)), before);
        drop(frozen);
    }
}

#[test]
fn a_large_window_is_taken_in_parts() {
    let make = |keys: KeySpace, restored: &mut RestoredOperator| {
        HeapBackend::new(SEED).windows::<u64, u64>(
            &StateDeclaration::window::<u64, u64>(STATE),
            keys,
            restored,
        )
    };
    let mut subtasks = Subtasks::new(1, &[], make);
    let keys: Vec<u64> = (0..20_000).collect();
    subtasks.batch(&keys, &mut Random::new(1), |table, at, key| table.set(EventTime(0), at, *key));
    // A checkpoint that still reads does not mind.
    let frozen = subtasks.snapshot();
    let table = &mut subtasks.tables[0];
    let mut taken = Vec::new();
    while table.first_window().is_some() {
        let before = taken.len();
        let take = &mut |key: &u64, value| {
            taken.push((*key, value));
            Ok(())
        };
        table.take_window(EventTime(0), 1000, take).unwrap();
        assert!((1000..4584).contains(&(taken.len() - before)) || taken.len() == keys.len());
    }
    taken.sort_unstable();
    assert!(taken.into_iter().eq(keys.into_iter().map(|key| (key, key))));
    let groups: usize = frozen.into_iter().map(write).map(|written| written.groups.len()).sum();
    assert!(groups > 100, "{groups}");
}

#[test]
fn a_window_whose_visitor_fails_is_gone_all_the_same() {
    let make = |keys: KeySpace, restored: &mut RestoredOperator| {
        HeapBackend::new(SEED).windows::<u64, u64>(
            &StateDeclaration::window::<u64, u64>(STATE),
            keys,
            restored,
        )
    };
    let mut subtasks = Subtasks::new(1, &[], make);
    subtasks.batch(&[1u64, 2, 3], &mut Random::new(1), |table, at, _| table.set(EventTime(0), at, 1));
    let mut visits = 0;
    let table = &mut subtasks.tables[0];
    let result = table.take_window(EventTime(0), usize::MAX, &mut |_, _| {
        visits += 1;
        Err(flott_core::Error::user("no"))
    });
    assert_eq!((result.unwrap_err().to_string(), visits), ("no".to_owned(), 1));
    assert_eq!(table.first_window(), None);
    subtasks
        .batch(&[1u64], &mut Random::new(1), |table, at, _| assert!(table.get(EventTime(0), at).is_none()));
}

#[test]
fn damaged_groups_are_refused() {
    let max_parallelism = MaxParallelism::new(128).unwrap();
    let keys = KeySpace { groups: max_parallelism.key_groups(SubtaskIndex(0), 1), max_parallelism };
    let declaration = StateDeclaration::value::<u64, u64>(STATE);
    let at_home = max_parallelism.key_group(7u64.key_hash());
    let entry = |count: u64| [count, 7, 1].iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let restore = |group, bytes| {
        let keyed = RestoredKeyed { written: None, groups: vec![(group, bytes)] };
        let mut restored = RestoredOperator { keyed: BTreeMap::from([(STATE.to_owned(), keyed)]) };
        HeapBackend::new(SEED).value::<u64, u64>(&declaration, keys, &mut restored).map(drop)
    };
    restore(at_home, entry(1)).unwrap();
    let refused = |group, bytes| {
        let error = restore(group, bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        error.to_string()
    };
    assert!(refused(KeyGroup(at_home.0 ^ 1), entry(1)).contains("not its own"));
    assert!(refused(at_home, entry(2)).contains("ends inside"));
    assert!(refused(at_home, [entry(2), entry(0)[8..].to_vec()].concat()).contains("twice"));
}

#[test]
#[should_panic(expected = "keys of another type")]
fn keys_of_another_type_are_a_bug() {
    let make = |keys: KeySpace, restored: &mut RestoredOperator| {
        HeapBackend::new(SEED).value::<u64, u64>(&StateDeclaration::value::<u64, u64>(STATE), keys, restored)
    };
    Subtasks::new(1, &[], make).tables[0].begin_batch(Arc::new(KeyBatch::<u32>::default()));
}
