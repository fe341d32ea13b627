//! Whole files, in a store in memory.

use std::{ops::Range, sync::Arc};

use flott_core::{
    ErrorKind, KeyGroup, KeyGroupRange, OperatorUid, Record, Result,
    snapshot::{KeyedSnapshotSink, RestoredOperator, WriteKeyed, Written},
    state::{StateDeclaration, StateKind, StateOptions, TimeDomain, Ttl},
    testkit::{Random, seeds},
};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use tokio::runtime::Runtime;

use super::{encoder::PART_BYTES_MAX, *};

const PATH: &str = "some/file.snap";
const GOLDEN_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1.snap");
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v2.snap");

fn uid(name: &str) -> OperatorUid {
    OperatorUid::new(name).unwrap()
}

fn sum() -> StateDeclaration {
    StateDeclaration::value::<u32, (u64, i64)>("sum")
}

fn empty() -> StateDeclaration {
    StateDeclaration::map::<u32, u8, String>("empty")
}

fn armed() -> StateDeclaration {
    let options =
        StateOptions { ttl: Some(Ttl { duration_ms: 60_000, time: TimeDomain::EventTime }), namespace: None };
    StateDeclaration { options, ..StateDeclaration::value::<String, bool>("armed") }
}

/// Every group of `groups` holds its number, repeated as often as its number says.
fn numbers(groups: Range<u16>) -> WriteKeyed {
    Box::new(move |sink: &mut dyn KeyedSnapshotSink| -> Result<()> {
        groups.clone().try_for_each(|group| {
            let bytes: Vec<u8> = group.to_le_bytes().repeat(usize::from(group));
            sink.key_group(KeyGroup(group), u64::from(group), &bytes)
        })
    })
}

struct File {
    runtime: Runtime,
    store: Arc<dyn ObjectStore>,
    size: u64,
}

impl File {
    /// Two operators: the first with two states, the second with groups of which some are missing.
    fn write(part_bytes: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let handle = runtime.handle().clone();
        let mut writer = SnapshotWriter::in_parts(part_bytes, &store, PATH, handle).unwrap();
        writer.keyed(&uid("totals"), sum(), numbers(0..40)).unwrap();
        writer.keyed(&uid("totals"), empty(), Box::new(|_| Ok(()))).unwrap();
        writer.keyed(&uid("alerts"), armed(), numbers(30..35)).unwrap();
        let size = writer.finish().unwrap();
        Self { runtime, store, size }
    }

    fn of(bytes: Vec<u8>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let size = bytes.len() as u64;
        runtime.block_on(store.put(&Path::from(PATH), bytes.into())).unwrap();
        Self { runtime, store, size }
    }

    fn bytes(&self) -> Vec<u8> {
        self.runtime
            .block_on(async { self.store.get(&Path::from(PATH)).await?.bytes().await })
            .unwrap()
            .to_vec()
    }

    fn restore(&self, operator: &str, start: u32, end: u32) -> Result<RestoredOperator> {
        self.runtime.block_on(async {
            let reader = SnapshotReader::open(&self.store, PATH, self.size).await?;
            let mut restored = RestoredOperator::default();
            reader.restore(&uid(operator), KeyGroupRange { start, end }, &mut restored).await?;
            Ok(restored)
        })
    }
}

fn groups(restored: &mut RestoredOperator, state: &str, written: Written) -> Vec<u16> {
    let keyed = restored.keyed.remove(state).unwrap();
    assert_eq!(keyed.written, Some(written));
    let check = |(group, bytes): (KeyGroup, Vec<u8>)| {
        assert_eq!(bytes, group.0.to_le_bytes().repeat(usize::from(group.0)));
        group.0
    };
    keyed.groups.into_iter().map(check).collect()
}

#[test]
fn any_range_of_groups_is_read_whatever_the_size_of_parts() {
    for part_bytes in [1, 7, 100, PART_BYTES_MAX] {
        let file = File::write(part_bytes);
        assert_eq!(file.bytes(), File::write(PART_BYTES_MAX).bytes());
        let mut totals = file.restore("totals", 3, 38).unwrap();
        assert_eq!(groups(&mut totals, "sum", Written::Declared(sum())), (3..38).collect::<Vec<_>>());
        assert_eq!(groups(&mut totals, "empty", Written::Declared(empty())), [0u16; 0]);
        let mut alerts = file.restore("alerts", 0, 33).unwrap();
        assert_eq!(groups(&mut alerts, "armed", Written::Declared(armed())), [30, 31, 32]);
        assert!(file.restore("unknown", 0, 128).unwrap().keyed.is_empty());
    }
}

/// Files of format 1 and 2.
fn both_formats() -> [Vec<u8>; 2] {
    [std::fs::read(GOLDEN_1).unwrap(), File::write(PART_BYTES_MAX).bytes()]
}

/// Asserts that the bytes are noticed not to be those that were written.
fn assert_refused(bytes: Vec<u8>, what: &str) {
    let file = File::of(bytes);
    let read = file.restore("totals", 0, 128).and_then(|_| file.restore("alerts", 0, 128));
    let error = read.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::State, "{what}");
    assert!(error.to_string().contains(PATH), "{error}");
}

#[test]
fn any_changed_bit_or_missing_byte_is_an_error_that_names_the_file() {
    for intact in both_formats() {
        for bit in 0..intact.len() * 8 {
            let mut changed = intact.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_refused(changed, &format!("bit {bit}"));
        }
        for length in 0..intact.len() {
            assert_refused(intact[..length].to_vec(), &format!("cut to {length} bytes"));
        }
    }
    let intact = File::write(PART_BYTES_MAX).bytes();
    let mut another = File::of(intact);
    another.size += 1;
    assert!(another.restore("totals", 0, 1).unwrap_err().to_string().contains("instead of"));
}

/// Writes over, swaps, removes and adds bytes.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let mut part = |bytes: &[u8]| {
        let start = random.below(bytes.len() as u64) as usize;
        start..bytes.len().min(start + 1 + random.below(64) as usize)
    };
    let (first, second) = (part(bytes), part(bytes));
    match random.below(4) {
        0 => bytes[first].iter_mut().for_each(|byte| *byte = random.bits().to_le_bytes()[0]),
        1 => first.zip(second).for_each(|(a, b)| bytes.swap(a, b)),
        2 => drop(bytes.drain(first)),
        _ => {
            let copy = bytes[first].to_vec();
            drop(bytes.splice(second.start..second.start, copy));
        }
    }
}

#[test]
fn random_damage_is_an_error_that_names_the_file() {
    let formats = both_formats();
    for seed in seeds(2_000) {
        let mut random = Random::new(seed);
        let intact = random.pick(&formats).clone();
        let mut damaged = intact.clone();
        (0..=random.below(4)).for_each(|_| damage(&mut damaged, &mut random));
        if damaged != intact {
            assert_refused(damaged, &format!("seed {seed}"));
        }
    }
}

#[test]
fn a_later_format_says_so() {
    let mut bytes = File::write(PART_BYTES_MAX).bytes();
    bytes[8] = 3;
    let checksum = crc32c::crc32c(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&checksum);
    let error = File::of(bytes).restore("totals", 0, 1).unwrap_err();
    let expected =
        format!("{PATH}: snapshot file: written by a newer Flott: format 3, this binary reads up to 2");
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn key_groups_out_of_order_are_a_bug() {
    let file = File::write(PART_BYTES_MAX);
    let mut writer = SnapshotWriter::create(&file.store, "other", file.runtime.handle().clone()).unwrap();
    let twice = |sink: &mut dyn KeyedSnapshotSink| {
        sink.key_group(KeyGroup(3), 1, &[1])?;
        sink.key_group(KeyGroup(3), 1, &[1])
    };
    let error = writer.keyed(&uid("totals"), sum(), Box::new(twice)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    writer.abort();
}

/// A file whose index was replaced, with all checksums right.
fn with_index(index: &[u8]) -> Vec<u8> {
    let mut bytes = index::encode_header();
    let index_offset = bytes.len() as u64;
    bytes.extend_from_slice(index);
    let footer =
        index::Footer { index_offset, index_length: index.len() as u64, index_crc32c: crc32c::crc32c(index) };
    bytes.extend_from_slice(&footer.encode());
    bytes
}

#[test]
fn damage_behind_right_checksums_is_no_panic() {
    let written = File::write(PART_BYTES_MAX).bytes();
    let footer = index::Footer::decode(&written[written.len() - 32..], written.len() as u64).unwrap();
    let intact = &written[footer.index_offset as usize..written.len() - 32];
    for seed in seeds(2_000) {
        let mut random = Random::new(seed);
        let mut damaged = intact.to_vec();
        (0..=random.below(4)).for_each(|_| damage(&mut damaged, &mut random));
        let file = File::of(with_index(&damaged));
        if let Err(error) = file.restore("totals", 0, 128) {
            assert!(error.to_string().contains(PATH), "{error}");
        }
    }
}

#[test]
fn a_state_of_a_later_version_is_named_where_it_is_restored() {
    let kind = StateKind::Unknown("channel".into());
    let channel = StateDeclaration { kind, ..StateDeclaration::value::<u64, u64>("in-flight") };
    let file = File::write(PART_BYTES_MAX);
    let mut writer = SnapshotWriter::create(&file.store, PATH, file.runtime.handle().clone()).unwrap();
    writer.keyed(&uid("totals"), channel, numbers(1..3)).unwrap();
    writer.keyed(&uid("alerts"), armed(), numbers(1..3)).unwrap();
    let file = File { size: writer.finish().unwrap(), ..file };
    let mut alerts = file.restore("alerts", 0, 128).unwrap();
    assert_eq!(groups(&mut alerts, "armed", Written::Declared(armed())), [1, 2]);
    let error = file.restore("totals", 0, 128).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State);
    let error = error.to_string();
    assert!(error.contains("operator \"totals\", state \"in-flight\": "), "{error}");
    assert!(error.contains("the kind `channel`; a newer Flott wrote it"), "{error}");
    assert!(!error.contains("damaged"), "{error}");
}

/// Files of format 1 are read for ever.
#[test]
fn the_golden_file_of_format_1_stays_readable() {
    let golden = std::fs::read(GOLDEN_1).unwrap();
    let mut totals = File::of(golden.clone()).restore("totals", 0, 128).unwrap();
    let sums = Written::Entries(<(u64, i64)>::schema());
    assert_eq!(groups(&mut totals, "sum", sums), (0..40).collect::<Vec<_>>());
    let mut alerts = File::of(golden).restore("alerts", 0, 128).unwrap();
    let armed = Written::Entries(bool::schema());
    assert_eq!(groups(&mut alerts, "armed", armed), [30, 31, 32, 33, 34]);
}

/// Files of format 2 are read for ever. To look at a change of the writer, not to make peace with it: delete the file
/// and run this test twice.
#[test]
fn the_golden_file_stays_readable() {
    let written = File::write(PART_BYTES_MAX).bytes();
    if !std::path::Path::new(GOLDEN).exists() {
        std::fs::write(GOLDEN, &written).unwrap();
        panic!("{GOLDEN} was missing and has been written");
    }
    let golden = std::fs::read(GOLDEN).unwrap();
    let mut totals = File::of(golden.clone()).restore("totals", 0, 128).unwrap();
    assert_eq!(groups(&mut totals, "sum", Written::Declared(sum())), (0..40).collect::<Vec<_>>());
    let mut alerts = File::of(golden.clone()).restore("alerts", 0, 128).unwrap();
    assert_eq!(groups(&mut alerts, "armed", Written::Declared(armed())), [30, 31, 32, 33, 34]);
    assert_eq!(golden, written, "format 2 is still what is written");
}
