//! What a completed checkpoint consists of.

use std::collections::{BTreeMap, BTreeSet};

use flott_core::{
    AttemptId, CheckpointId, Error, ErrorKind, KeyGroupRange, LeaderEpoch, MaxParallelism, OperatorUid,
    Result, SubtaskIndex, format::Format,
};
use serde::{Deserialize, Serialize};

pub(super) const FORMAT: Format = Format::first("manifest");

/// A completed checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub format: u32,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The JobManager's reign that it was taken in.
    pub epoch: LeaderEpoch,
    /// The attempt that it was taken of.
    pub attempt: AttemptId,
    /// Wall-clock time of its completion, in milliseconds since the Unix epoch.
    pub completed_at_ms: i64,
    /// Whether the job had processed all its input.
    pub is_final: bool,
    /// Number of key groups.
    pub max_parallelism: MaxParallelism,
    /// What operators have in it.
    pub operators: Vec<OperatorManifest>,
    /// What the enumerators of sources know.
    pub enumerators: BTreeMap<OperatorUid, EnumeratorManifest>,
}

impl Manifest {
    /// An empty manifest of the current format.
    #[must_use]
    pub fn new(
        checkpoint: CheckpointId,
        epoch: LeaderEpoch,
        attempt: AttemptId,
        max_parallelism: MaxParallelism,
    ) -> Self {
        Self {
            format: FORMAT.newest,
            checkpoint,
            epoch,
            attempt,
            completed_at_ms: 0,
            is_final: false,
            max_parallelism,
            operators: Vec::new(),
            enumerators: BTreeMap::new(),
        }
    }

    /// What an operator has in it.
    #[must_use]
    pub fn operator(&self, uid: &OperatorUid) -> Option<&OperatorManifest> {
        self.operators.iter().find(|operator| operator.uid == *uid)
    }

    /// All items of a list state of an operator, over all its subtasks.
    #[must_use]
    pub fn list_items(&self, uid: &OperatorUid, name: &str) -> Vec<Vec<u8>> {
        let lists = self.operator(uid).into_iter().flat_map(|operator| &operator.lists);
        lists.filter(|list| list.name == name).flat_map(|list| list.items.iter().cloned()).collect()
    }

    /// The files that have an operator's key groups of `range`, if it has any.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when one of these groups is not in exactly one file.
    pub(super) fn files_within(&self, uid: &OperatorUid, range: KeyGroupRange) -> Result<Vec<&KeyedFile>> {
        let overlaps = |other: KeyGroupRange| other.start < range.end && range.start < other.end;
        let all = self.operator(uid).map_or(&[][..], |operator| &operator.files);
        let mut files: Vec<_> = all.iter().filter(|file| overlaps(file.key_groups)).collect();
        files.sort_by_key(|file| file.key_groups.start);
        let mut next = files.first().map_or(range.start, |first| first.key_groups.start.min(range.start));
        for file in files.iter().map(|file| file.key_groups) {
            if file.start != next {
                break;
            }
            next = file.end;
        }
        if all.is_empty() || next >= range.end {
            return Ok(files);
        }
        let message = format!(
            "checkpoint {}, operator {:?}: key group {next} is not in exactly one file; the manifest is damaged",
            self.checkpoint,
            uid.as_str()
        );
        Err(Error::new(ErrorKind::State, message))
    }

    /// Bytes in its snapshot files. A file that several operators share counts once.
    #[must_use]
    pub fn snapshot_bytes(&self) -> u64 {
        let files = self.operators.iter().flat_map(|operator| &operator.files);
        let distinct: BTreeMap<&str, u64> = files.map(|file| (file.path.as_str(), file.bytes)).collect();
        distinct.values().sum()
    }
}

/// What one operator has in a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatorManifest {
    /// The operator.
    pub uid: OperatorUid,
    /// Its parallelism at the time.
    pub parallelism: u32,
    /// Snapshot files that have keyed state of it.
    pub files: Vec<KeyedFile>,
    /// List states.
    pub lists: Vec<ListManifest>,
}

/// A snapshot file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedFile {
    /// Where it is, within the checkpoint directory of the job.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The key groups that it may have.
    pub key_groups: KeyGroupRange,
}

/// A list state of one subtask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListManifest {
    /// The state's name.
    pub name: String,
    /// The subtask that it was.
    pub subtask: SubtaskIndex,
    /// Its items; hexadecimal in JSON.
    #[serde(with = "hexadecimal")]
    pub items: Vec<Vec<u8>>,
}

/// What an enumerator knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnumeratorManifest {
    /// Ids of all splits that it has found.
    pub known: BTreeSet<String>,
    /// Whether it has found all.
    pub is_complete: bool,
}

mod hexadecimal {
    use std::fmt::Write;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(items: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
        let text = |item: &Vec<u8>| {
            item.iter().fold(String::with_capacity(2 * item.len()), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
        };
        items.iter().map(text).collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let parse = |text: String| {
            let digits = text.as_bytes();
            let pairs = digits.chunks(2).map(|pair| {
                let pair = std::str::from_utf8(pair).map_err(D::Error::custom)?;
                if pair.len() == 2 {
                    u8::from_str_radix(pair, 16).map_err(D::Error::custom)
                } else {
                    Err(D::Error::custom("an odd number of hexadecimal digits"))
                }
            });
            pairs.collect::<Result<Vec<u8>, _>>()
        };
        Vec::<String>::deserialize(deserializer)?.into_iter().map(parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_group_is_in_exactly_one_file() {
        let uid = OperatorUid::new("totals").unwrap();
        let files = |ranges: &[(u32, u32)], start, end| {
            let file = |&(start, end): &(u32, u32)| {
                let key_groups = KeyGroupRange { start, end };
                KeyedFile { path: format!("{start}"), bytes: 1, key_groups }
            };
            let max_parallelism = MaxParallelism::new(128).unwrap();
            let mut manifest = Manifest::new(CheckpointId(5), LeaderEpoch(1), AttemptId(1), max_parallelism);
            let files = ranges.iter().map(file).collect();
            let lists = Vec::new();
            manifest.operators.push(OperatorManifest { uid: uid.clone(), parallelism: 3, files, lists });
            let found = manifest.files_within(&uid, KeyGroupRange { start, end });
            found.map(|files| files.into_iter().map(|file| file.path.clone()).collect::<Vec<_>>())
        };
        let three = [(43, 86), (0, 43), (86, 128)];
        assert_eq!(files(&three, 0, 64).unwrap(), ["0", "43"]);
        assert_eq!(files(&three, 64, 128).unwrap(), ["43", "86"]);
        assert_eq!(files(&three, 0, 128).unwrap(), ["0", "43", "86"]);
        assert_eq!(files(&three, 50, 60).unwrap(), ["43"]);
        assert!(files(&[], 0, 128).unwrap().is_empty());
        for broken in [&[(0, 43), (44, 128)][..], &[(1, 128)], &[(0, 127)], &[(0, 50), (43, 128)]] {
            assert_eq!(files(broken, 0, 128).unwrap_err().kind(), ErrorKind::State, "{broken:?}");
        }
    }

    #[test]
    fn items_survive_json_as_hexadecimal() {
        let list = ListManifest {
            name: "splits".into(),
            subtask: SubtaskIndex(1),
            items: vec![vec![0, 255, 16], vec![]],
        };
        let json = serde_json::to_string(&list).unwrap();
        assert!(json.contains("\"00ff10\""), "{json}");
        assert_eq!(serde_json::from_str::<ListManifest>(&json).unwrap(), list);
        assert!(serde_json::from_str::<ListManifest>(&json.replace("00ff10", "00f")).is_err());
        assert!(serde_json::from_str::<ListManifest>(&json.replace("00ff10", "zz")).is_err());
    }
}
