use std::collections::BTreeMap;

use flott_core::{
    CheckpointId, Error, Generation, LeaderEpoch, OperatorUid, Result, format::Format, source::Split,
};
use serde::{Deserialize, Serialize};

use super::{Leader, Reign, json};

const FORMAT: Format = Format::first("journal entry");

/// All that is true of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The reign of the JobManager that wrote it.
    pub epoch: LeaderEpoch,
    /// The JobManager that wrote it.
    #[serde(default)]
    pub leader: Leader,
    /// Differs between runs of a job that each began from nothing.
    pub run: String,
    /// The run repeats one that had ended, and has no checkpoint yet: what it finds written is to be written again.
    #[serde(default)]
    pub is_repeat: bool,
    /// The job's name.
    pub job_name: String,
    /// Scope of transactional ids in use.
    pub generation: Generation,
    /// Generations that may have left transactions behind, with their parallelism.
    pub unswept: Vec<(Generation, u32)>,
    /// The highest id of a completed checkpoint. Later ones may have been given and used for files.
    pub last_checkpoint: CheckpointId,
    /// Completed checkpoints that are kept, oldest first.
    pub checkpoints: Vec<CheckpointEntry>,
    /// The splits that each enumerator found first. They say where the job began, and where it ends if it is bounded.
    pub initial_splits: BTreeMap<OperatorUid, Vec<Split>>,
    /// The end of the job, if it has ended.
    pub terminal: Option<TerminalRecord>,
}

impl JobRecord {
    /// The reign in which it was written.
    #[must_use]
    pub fn reign(&self) -> Reign {
        Reign { epoch: self.epoch, leader: self.leader.clone() }
    }
}

/// The entry of the journal for a completed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointEntry {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The directory of its files.
    pub directory: String,
    /// `true` if the job had processed all its input.
    pub is_final: bool,
    /// Size of its manifest.
    pub manifest_bytes: u64,
    /// CRC-32C of its manifest.
    pub manifest_crc: u32,
}

/// The end of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalRecord {
    /// `FINISHED` or `CANCELLED`: a failed job can go on.
    pub status: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The reason, if it failed.
    pub message: Option<String>,
}

/// An entry as it is stored: the record as text, so that its checksum is of what was written.
#[derive(Serialize, Deserialize)]
struct StoredEntry {
    format: u32,
    crc: u32,
    record: String,
}

/// The bytes of a journal entry.
pub(super) fn encode(record: &JobRecord) -> Result<Vec<u8>> {
    let unwritable = |error| Error::internal(format!("a journal entry cannot be written: {error}"));
    let record = serde_json::to_string(record).map_err(unwritable)?;
    let entry = StoredEntry { format: FORMAT.newest, crc: crc32c::crc32c(record.as_bytes()), record };
    serde_json::to_vec(&entry).map_err(unwritable)
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// [`flott_core::ErrorKind::State`] when a newer Flott wrote it, or it is damaged.
pub(super) fn decode(path: &str, bytes: &[u8]) -> Result<JobRecord> {
    let entry: StoredEntry = json::read(FORMAT, path, bytes)?;
    if crc32c::crc32c(entry.record.as_bytes()) != entry.crc {
        return Err(json::damaged(FORMAT, path, "its checksum is wrong"));
    }
    serde_json::from_str(&entry.record).map_err(|error| json::damaged(FORMAT, path, error))
}
