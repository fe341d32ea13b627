//! A snapshot file of every kind of table, with the key groups that its keys belong to, is read for ever.

use std::{collections::BTreeMap, sync::Arc};

use flott_core::{
    EventTime, KeyGroupRange, MaxParallelism, OperatorUid, SubtaskIndex,
    hash::HashSeed,
    key_group::KeySpace,
    record::Key,
    snapshot::{RestoredOperator, StateContent},
    state::{
        KeyBatch, KeyedState, MapTable, SharedKeys, StateBackend, StateDeclaration, TimeDomain, TimerTable,
        ValueTable, WindowTable,
    },
};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use tokio::runtime::{Builder, Runtime};

use super::HeapBackend;
use crate::snapshot::{SnapshotReader, SnapshotWriter};

const GOLDEN_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/heap-v1.snap");
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/heap-v2.snap");
const PATH: &str = "heap.snap";
const KEYS: u64 = 100;

type MapKey = (i32, Option<u8>);

/// All kinds of tables of one operator.
struct Tables {
    values: Box<dyn ValueTable<u64>>,
    maps: Box<dyn MapTable<i8, String>>,
    timers: Box<dyn TimerTable>,
    windows: Box<dyn WindowTable<String, (u64, bool)>>,
}

impl Tables {
    fn restore(groups: KeyGroupRange, restored: &mut RestoredOperator) -> Self {
        let keys = KeySpace { groups, max_parallelism: MaxParallelism::default() };
        let values = StateDeclaration::value::<String, u64>("values");
        let maps = StateDeclaration::map::<MapKey, i8, String>("maps");
        let timers = StateDeclaration::timer::<i64>("timers", TimeDomain::EventTime);
        let windows = StateDeclaration::window::<String, (u64, bool)>("windows");
        let backend = &mut HeapBackend::new(HashSeed::new(0x5EED, 0xFAC7));
        Self {
            values: backend.value::<String, _>(&values, keys, restored).unwrap(),
            maps: backend.map::<MapKey, _, _>(&maps, keys, restored).unwrap(),
            timers: backend.timers::<i64>(&timers, keys, restored).unwrap(),
            windows: backend.windows(&windows, keys, restored).unwrap(),
        }
    }

    fn all(&mut self) -> [&mut dyn KeyedState; 4] {
        [&mut *self.values, &mut *self.maps, &mut *self.timers, &mut *self.windows]
    }
}

fn text(number: u64) -> String {
    format!("card-{number}")
}

fn map_key(number: u64) -> MapKey {
    (-(number as i32), number.is_multiple_of(3).then_some(number as u8))
}

/// Gives a table the keys of a range as a batch.
fn batch<K: Key, T: KeyedState + ?Sized>(
    table: &mut T,
    groups: KeyGroupRange,
    key: impl Fn(u64) -> K,
    mut work: impl FnMut(&mut T, usize, u64),
) {
    let is_here = |key: &K| groups.contains(MaxParallelism::default().key_group(key.key_hash()));
    let numbers: Vec<_> = (0..KEYS).filter(|&number| is_here(&key(number))).collect();
    let mut keys = KeyBatch::default();
    numbers.iter().for_each(|&number| keys.push(key(number)));
    table.begin_batch(Arc::new(keys) as SharedKeys);
    numbers.iter().enumerate().for_each(|(at, &number)| work(table, at, number));
    table.end_batch();
}

fn filled() -> Tables {
    let all = KeyGroupRange { start: 0, end: 1024 };
    let mut tables = Tables::restore(all, &mut RestoredOperator::default());
    batch(&mut *tables.values, all, text, |table, at, number| *table.set(at, number) += 1);
    batch(&mut *tables.maps, all, map_key, |table, at, number| {
        (-1..=number as i8 % 20).for_each(|entry| drop(table.insert(at, entry, text(number))));
    });
    let signed = |number: u64| -(number as i64);
    batch(&mut *tables.timers, all, signed, |table, at, number| table.register(at, 5 - number as i64));
    batch(&mut *tables.windows, all, text, |table, at, number| {
        table.set(EventTime(number as i64 % 3 - 1), at, (number, true));
    });
    tables
}

fn store(runtime: &Runtime, bytes: Option<Vec<u8>>) -> Arc<dyn ObjectStore> {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    if let Some(bytes) = bytes {
        runtime.block_on(store.put(&Path::from(PATH), bytes.into())).unwrap();
    }
    store
}

fn write(runtime: &Runtime) -> Vec<u8> {
    let store = store(runtime, None);
    let mut writer = SnapshotWriter::create(&store, PATH, runtime.handle().clone()).unwrap();
    for table in filled().all() {
        let state = table.snapshot();
        let StateContent::Keyed(write) = state.content else { panic!("keyed state writes keyed content") };
        writer.keyed(&OperatorUid::new("heap").unwrap(), state.declaration, write).unwrap();
    }
    writer.finish().unwrap();
    runtime.block_on(async { store.get(&Path::from(PATH)).await.unwrap().bytes().await }).unwrap().to_vec()
}

fn assert_complete(tables: &mut Tables, groups: KeyGroupRange) -> usize {
    let mut seen = 0;
    batch(&mut *tables.values, groups, text, |table, at, number| {
        assert_eq!(table.get(at), Some(&(number + 1)));
        seen += 1;
    });
    batch(&mut *tables.maps, groups, map_key, |table, at, number| {
        let mut entries = BTreeMap::new();
        table.visit(at, &mut |entry, value| entries.insert(*entry, value.clone()).is_none());
        assert_eq!(entries, (-1..=number as i8 % 20).map(|entry| (entry, text(number))).collect());
    });
    let signed = |number: u64| -(number as i64);
    batch(&mut *tables.timers, groups, signed, |table, at, number| {
        assert!(table.delete(at, 5 - number as i64));
    });
    assert_eq!(tables.timers.next_time(), None);
    batch(&mut *tables.windows, groups, text, |table, at, number| {
        assert_eq!(table.get(EventTime(number as i64 % 3 - 1), at), Some(&(number, true)));
    });
    seen
}

/// To look at a change, not to make peace with it: delete the file and run this test twice.
#[test]
fn the_golden_file_of_all_tables_stays_readable_at_any_parallelism() {
    let runtime = Builder::new_current_thread().build().unwrap();
    if !std::path::Path::new(GOLDEN).exists() {
        std::fs::write(GOLDEN, write(&runtime)).unwrap();
        panic!("{GOLDEN} was missing and has been written");
    }
    assert_restorable(&runtime, GOLDEN);
}

#[test]
fn the_golden_file_of_format_1_stays_readable_at_any_parallelism() {
    assert_restorable(&Builder::new_current_thread().build().unwrap(), GOLDEN_1);
}

fn assert_restorable(runtime: &Runtime, path: &str) {
    let golden = std::fs::read(path).unwrap();
    let size = golden.len() as u64;
    let store = store(runtime, Some(golden));
    let reader = runtime.block_on(SnapshotReader::open(&store, PATH, size)).unwrap();
    for parallelism in [1, 3] {
        let mut seen = 0;
        for subtask in (0..parallelism).map(SubtaskIndex) {
            let groups = MaxParallelism::default().key_groups(subtask, parallelism);
            let mut restored = RestoredOperator::default();
            let operator = OperatorUid::new("heap").unwrap();
            runtime.block_on(reader.restore(&operator, groups, &mut restored)).unwrap();
            seen += assert_complete(&mut Tables::restore(groups, &mut restored), groups);
            restored.check_taken().unwrap();
        }
        assert_eq!(seen as u64, KEYS);
    }
}
