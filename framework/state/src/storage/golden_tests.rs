//! Golden files: what an earlier Flott wrote and every later one reads. They are never rewritten.

use std::path::{Path as FilePath, PathBuf};

use flott_core::{
    AttemptId, CheckpointId, ErrorKind, Generation, KeyGroupRange, LeaderEpoch, MaxParallelism, OperatorUid,
    SubtaskIndex, source::Split,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(FilePath::new(DIRECTORY).join(name)).unwrap()
}

fn uid(name: &str) -> OperatorUid {
    OperatorUid::new(name).unwrap()
}

fn entry() -> CheckpointEntry {
    CheckpointEntry {
        checkpoint: CheckpointId(7),
        directory: "checkpoints/chk-00000000000000000007-3-1".into(),
        is_final: false,
        manifest_bytes: golden("manifest-v1.json").len() as u64,
        manifest_crc: crc32c::crc32c(&golden("manifest-v1.json")),
    }
}

/// The content of the golden journal entry.
fn record() -> JobRecord {
    let splits = vec![Split { id: "payments-3".into(), state: vec![1, 2, 255] }];
    JobRecord {
        epoch: LeaderEpoch(3),
        leader: Leader::default(),
        run: "19d1a3c5f00-00c0ffee00c0ffee".into(),
        is_repeat: true,
        job_name: "card-alerts".into(),
        generation: Generation(5),
        unswept: vec![(Generation(4), 2), (Generation(5), 3)],
        last_checkpoint: CheckpointId(8),
        checkpoints: vec![entry()],
        initial_splits: [(uid("payments"), splits)].into(),
        terminal: Some(TerminalRecord {
            status: "CANCELLED".into(),
            at_ms: 1_700_000_000_000,
            message: None,
        }),
    }
}

/// The content of the golden manifest.
fn manifest() -> Manifest {
    let (attempt, groups) = (AttemptId(1), MaxParallelism::new(128).unwrap());
    let mut manifest = Manifest::new(CheckpointId(7), LeaderEpoch(3), attempt, groups);
    manifest.completed_at_ms = 1_700_000_000_123;
    let key_groups = KeyGroupRange { start: 0, end: 128 };
    manifest.operators.push(OperatorManifest {
        uid: uid("totals"),
        parallelism: 1,
        files: vec![KeyedFile { path: "checkpoints/c/0-0.snap".into(), bytes: 4711, key_groups }],
        lists: vec![ListManifest {
            name: "committables".into(),
            subtask: SubtaskIndex(0),
            items: vec![vec![2, 0, 255]],
        }],
    });
    let known = ["payments-3".to_owned()].into();
    manifest.enumerators.insert(uid("payments"), EnumeratorManifest { known, is_complete: true });
    manifest
}

/// Reads `text` as the newest journal entry of a directory.
async fn read_journal(text: &[u8]) -> Result<Option<JobRecord>> {
    let (_directory, storage) = directory("journal/00000000000000000042.json", text).await;
    Journal::read(&storage).await
}

async fn read_manifest(text: &[u8]) -> Result<Manifest> {
    let path = format!("{}/manifest.json", entry().directory);
    let (_directory, storage) = directory(&path, text).await;
    let (manifest_bytes, manifest_crc) = (text.len() as u64, crc32c::crc32c(text));
    storage.read_manifest(&CheckpointEntry { manifest_bytes, manifest_crc, ..entry() }).await
}

async fn directory(path: &str, text: &[u8]) -> (TempDir, CheckpointStorage) {
    let directory = TempDir::new().unwrap();
    let path: PathBuf = directory.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    let storage = CheckpointStorage::open(directory.path().to_str().unwrap()).await.unwrap();
    (directory, storage)
}

/// Adds a field to every object within `value`, but not where the keys are names of things.
fn add_fields(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let is_map_of_names = object.contains_key("payments");
            object.values_mut().for_each(add_fields);
            if !is_map_of_names {
                object.insert("a_later_field".into(), json!({"of": ["a", "later", 7]}));
            }
        }
        Value::Array(values) => values.iter_mut().for_each(add_fields),
        _ => {}
    }
}

/// The golden journal entry with another record, and its checksum right.
fn journal_with(change: impl FnOnce(&mut Value)) -> Value {
    let mut entry: Value = serde_json::from_slice(&golden("journal-v1.json")).unwrap();
    let mut record: Value = serde_json::from_str(entry["record"].as_str().unwrap()).unwrap();
    change(&mut record);
    let record = record.to_string();
    entry["crc"] = crc32c::crc32c(record.as_bytes()).into();
    entry["record"] = record.into();
    entry
}

#[tokio::test]
async fn the_golden_journal_entry_stays_readable() {
    assert_eq!(read_journal(&golden("journal-v1.json")).await.unwrap().unwrap(), record());
}

#[tokio::test]
async fn the_golden_manifest_stays_readable() {
    assert_eq!(read_manifest(&golden("manifest-v1.json")).await.unwrap(), manifest());
}

#[tokio::test]
async fn fields_of_later_versions_are_no_damage() {
    let mut entry = journal_with(add_fields);
    add_fields(&mut entry);
    assert_eq!(read_journal(entry.to_string().as_bytes()).await.unwrap().unwrap(), record());
    let mut later: Value = serde_json::from_slice(&golden("manifest-v1.json")).unwrap();
    add_fields(&mut later);
    assert_eq!(read_manifest(later.to_string().as_bytes()).await.unwrap(), manifest());
}

#[tokio::test]
async fn a_newer_format_is_named_before_anything_else_is_read() {
    let newer = json!({"format": 2, "everything": ["else", "differs"]}).to_string();
    let errors = [
        ("journal entry", read_journal(newer.as_bytes()).await.unwrap_err()),
        ("manifest", read_manifest(newer.as_bytes()).await.unwrap_err()),
    ];
    for (name, error) in errors {
        assert_eq!(error.kind(), ErrorKind::State);
        let expected = format!("{name}: written by a newer Flott: format 2, this binary reads up to 1");
        assert!(error.to_string().contains(&expected), "{error}");
    }
}
