use std::{
    collections::BTreeSet,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    sync::atomic::{AtomicU64, Ordering},
};

use flott_core::{
    AttemptId, CheckpointId, ErrorKind, Generation, KeyGroup, KeyGroupRange, LeaderEpoch, MaxParallelism,
    OperatorUid, Result, SubtaskIndex, VertexId, snapshot::KeyedSnapshotSink, state::StateDeclaration,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

fn uid(name: &str) -> OperatorUid {
    OperatorUid::new(name).unwrap()
}

async fn lead(storage: &CheckpointStorage, change: impl Fn(&mut JobRecord)) -> Journal {
    static NONCE: AtomicU64 = AtomicU64::new(1);
    let leader = Leader { nonce: NONCE.fetch_add(1, Ordering::Relaxed), ..Leader::default() };
    let observed = Journal::observe(storage).await.unwrap();
    Journal::lead(storage.clone(), &observed, leader, change).await.unwrap()
}

fn open(directory: &TempDir, runtime: &Runtime) -> CheckpointStorage {
    runtime.block_on(CheckpointStorage::open(&format!("file://{}", directory.path().display()))).unwrap()
}

#[test]
fn a_new_leader_deposes_the_old_one() {
    let (runtime, directory) = (runtime(), TempDir::new().unwrap());
    let storage = open(&directory, &runtime);
    runtime.block_on(async {
        assert!(Journal::read(&storage).await.unwrap().is_none());
        let mut first = lead(&storage, |record| record.run = "r1".into()).await;
        assert_eq!(first.record().epoch, LeaderEpoch(1));
        let mut record = first.record().clone();
        record.generation = Generation(7);
        first.append(record.clone()).await.unwrap();

        let mut second = lead(&storage, |_| {}).await;
        assert_eq!((second.record().epoch, second.record().generation), (LeaderEpoch(2), Generation(7)));
        assert_eq!(second.record().run, "r1");
        assert!(matches!(first.append(record.clone()).await, Err(AppendError::Conflict(_))));
        // Long after: the entry that the first one would write has been deleted.
        for _ in 0..40 {
            let record = second.record().clone();
            second.append(record).await.unwrap();
        }
        assert!(matches!(first.append(record).await, Err(AppendError::Conflict(_))));
        assert_eq!(Journal::read(&storage).await.unwrap().unwrap(), *second.record());
    });
}

#[test]
fn an_append_that_cannot_be_checked_is_neither_there_nor_not() {
    let (runtime, directory) = (runtime(), TempDir::new().unwrap());
    let storage = open(&directory, &runtime);
    // A name that is no path makes the store refuse to list the journal, though entries can be written.
    let unlistable = directory.path().join("journal").join(OsStr::from_bytes(b"\xff"));
    runtime.block_on(async {
        let mut journal = lead(&storage, |_| {}).await;
        let mut record = journal.record().clone();
        record.generation = Generation(7);
        std::fs::write(&unlistable, "").unwrap();
        let unclear = journal.append(record.clone()).await;
        assert!(matches!(unclear, Err(AppendError::Unclear(_))), "{unclear:?}");
        assert_ne!(*journal.record(), record);
        std::fs::remove_file(&unlistable).unwrap();
        assert_eq!(Journal::read(&storage).await.unwrap(), Some(record.clone()), "it was there all the time");
        journal.append(record.clone()).await.unwrap();
        assert_eq!(*journal.record(), record);
        record.generation = Generation(8);
        journal.append(record.clone()).await.unwrap();
        assert_eq!(Journal::read(&storage).await.unwrap(), Some(record));
    });
}

#[test]
fn a_damaged_journal_is_an_error() {
    let (runtime, directory) = (runtime(), TempDir::new().unwrap());
    let storage = open(&directory, &runtime);
    runtime.block_on(lead(&storage, |_| {}));
    let path = directory.path().join("journal/00000000000000000001.json");
    let text = std::fs::read_to_string(&path).unwrap();
    for damaged in [text.replace("\\\"epoch\\\":1", "\\\"epoch\\\":9"), text[..20].to_string(), String::new()]
    {
        std::fs::write(&path, damaged).unwrap();
        let error = runtime.block_on(Journal::read(&storage)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        assert!(error.to_string().contains("is damaged"), "{error}");
    }
}

fn write_sums(sink: &mut dyn KeyedSnapshotSink, groups: std::ops::Range<u16>) -> Result<()> {
    for group in groups {
        sink.key_group(KeyGroup(group), 1, &vec![group as u8; usize::from(group)])?;
    }
    Ok(())
}

fn write_checkpoint(storage: &CheckpointStorage, runtime: &Runtime, id: u64) -> CheckpointEntry {
    let (epoch, attempt) = (LeaderEpoch(1), AttemptId(1));
    let directory = CheckpointDirectory::new(CheckpointId(id), epoch, attempt);
    let mut manifest = Manifest::new(CheckpointId(id), epoch, attempt, MaxParallelism::default());
    let mut operator = OperatorManifest { uid: uid("sum"), parallelism: 2, files: vec![], lists: vec![] };
    for (subtask, groups) in [(0, 0..512), (1, 512..1024)] {
        let path = directory.snapshot_file(VertexId(1), SubtaskIndex(subtask));
        let mut writer = storage.create_snapshot(&path, runtime.handle().clone()).unwrap();
        let range = groups.clone();
        let values = StateDeclaration::value::<u64, u64>("values");
        writer.keyed(&uid("sum"), values.clone(), Box::new(|sink| write_sums(sink, range))).unwrap();
        writer.keyed(&uid("other"), values, Box::new(|_| Ok(()))).unwrap();
        let bytes = writer.finish().unwrap();
        let key_groups = KeyGroupRange { start: groups.start.into(), end: groups.end.into() };
        operator.files.push(KeyedFile { path, bytes, key_groups });
    }
    manifest.operators.push(operator);
    runtime.block_on(storage.write_manifest(&manifest)).unwrap()
}

#[test]
fn a_checkpoint_is_restored_with_any_parallelism() {
    let (runtime, directory) = (runtime(), TempDir::new().unwrap());
    let storage = open(&directory, &runtime);
    let entry = write_checkpoint(&storage, &runtime, 5);
    let manifest = runtime.block_on(storage.read_manifest(&entry)).unwrap();
    runtime.block_on(storage.verify(&manifest)).unwrap();
    for parallelism in [1, 2, 3] {
        let mut groups = BTreeSet::new();
        for subtask in 0..parallelism {
            let range = MaxParallelism::default().key_groups(SubtaskIndex(subtask), parallelism);
            let mut restored = runtime.block_on(storage.restore(&manifest, &uid("sum"), range)).unwrap();
            for (group, bytes) in restored.keyed.remove("values").unwrap().groups {
                assert!(range.contains(group) && groups.insert(group));
                assert_eq!(bytes, vec![group.0 as u8; usize::from(group.0)]);
            }
        }
        assert_eq!(groups.len(), 1024);
    }
}

#[test]
fn damage_is_found_and_named() {
    let (runtime, directory) = (runtime(), TempDir::new().unwrap());
    let storage = open(&directory, &runtime);
    let entry = write_checkpoint(&storage, &runtime, 5);
    let manifest = runtime.block_on(storage.read_manifest(&entry)).unwrap();
    let range = KeyGroupRange { start: 0, end: 1024 };
    let path = directory.path().join(&manifest.operators[0].files[0].path);
    let intact = std::fs::read(&path).unwrap();
    let error_with = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let restored = runtime.block_on(storage.restore(&manifest, &uid("sum"), range));
        let error = restored.expect_err("the file is damaged");
        assert_eq!(error.kind(), ErrorKind::State);
        assert!(error.to_string().contains("1-0.snap"), "{error}");
    };
    for position in (0..intact.len()).step_by(997).chain(intact.len() - 24..intact.len()) {
        let mut flipped = intact.clone();
        flipped[position] ^= 0x10;
        error_with(&flipped);
    }
    error_with(&intact[..intact.len() - 1]);
    error_with(&[]);
    std::fs::remove_file(&path).unwrap();
    let error = runtime.block_on(storage.verify(&manifest)).unwrap_err();
    assert!(error.to_string().contains("was it deleted?"), "{error}");

    let manifest_path = directory.path().join(&entry.directory).join("manifest.json");
    let text = std::fs::read_to_string(&manifest_path).unwrap();
    for damaged in [text.replace("\"sum\"", "\"tum\""), text[..30].into()] {
        std::fs::write(&manifest_path, damaged).unwrap();
        assert_eq!(runtime.block_on(storage.read_manifest(&entry)).unwrap_err().kind(), ErrorKind::State);
    }
}

#[test]
fn leftovers_of_earlier_leaders_are_deleted_and_nothing_else() {
    let (runtime, directory) = (runtime(), TempDir::new().unwrap());
    let storage = open(&directory, &runtime);
    let entries = [5, 6, 7].map(|id| write_checkpoint(&storage, &runtime, id));
    let readable = || entries.each_ref().map(|entry| runtime.block_on(storage.read_manifest(entry)).is_ok());
    let kept = BTreeSet::from([entries[1].directory.as_str()]);
    runtime.block_on(storage.discard_leftovers(&kept)).unwrap();
    assert_eq!(readable(), [true, true, true], "of no earlier leader");

    runtime.block_on(lead(&storage, |_| {}));
    runtime.block_on(storage.discard_leftovers(&kept)).unwrap();
    assert_eq!(readable(), [true, true, true], "of the current leader");

    let keep_last = |record: &mut JobRecord| record.checkpoints.push(entries[2].clone());
    runtime.block_on(lead(&storage, keep_last));
    let killed_upload = directory.path().join(&entries[0].directory).join("9-9.snap#1");
    std::fs::write(killed_upload, "half").unwrap();
    runtime.block_on(storage.discard_leftovers(&kept)).unwrap();
    assert_eq!(readable(), [false, true, true]);
    assert!(!directory.path().join(&entries[0].directory).exists());
}

#[test]
fn an_unusable_directory_says_what_to_do() {
    let runtime = runtime();
    for (url, expected) in [
        ("s3://bucket/x", "s3:// is not supported"),
        ("file://x", "three slashes"),
        ("file:///proc/flott", "choose a directory"),
    ] {
        let error = runtime.block_on(CheckpointStorage::open(url)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.to_string().contains(expected), "{error}");
    }
}
