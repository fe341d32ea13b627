//! The journal: what is true of the job, and who may say so.
//!
//! Entries are objects with ascending numbers, each created only if it does not exist, each saying everything. Whoever has
//! written the highest one is the leader. A JobManager takes over by writing the next entry with a higher epoch; the
//! one it deposes finds its next number taken.

use std::collections::BTreeMap;

use flott_core::{
    CheckpointId, Error, ErrorKind, Generation, LeaderEpoch, OperatorUid, Result, source::Split,
};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, path::Path};
use serde::{Deserialize, Serialize};

use super::{CheckpointStorage, checkpoint::ignore_missing, failed};

const DIRECTORY: &str = "journal";
const FORMAT: u32 = 1;

/// Entries that are kept behind the newest.
const ENTRIES_KEPT: u64 = 16;

/// Largest entry that is read.
const ENTRY_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// All that is true of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRecord {
    /// The reign of the JobManager that wrote it.
    pub epoch: LeaderEpoch,
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
    /// What the first look of each enumerator found: where the job began, and where it ends if it is bounded.
    pub initial_splits: BTreeMap<OperatorUid, Vec<Split>>,
    /// How the job ended, if it has.
    pub terminal: Option<TerminalRecord>,
}

/// What the journal keeps of a completed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointEntry {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Where its files are.
    pub directory: String,
    /// Whether the job had processed all its input.
    pub is_final: bool,
    /// Size of its manifest.
    pub manifest_bytes: u64,
    /// CRC-32C of its manifest.
    pub manifest_crc: u32,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalRecord {
    /// `FINISHED` or `CANCELLED`: a failed job can go on.
    pub status: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Why, if it failed.
    pub message: Option<String>,
}

/// An entry as it is stored: the record as text, so that its checksum is of what was written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredEntry {
    format: u32,
    crc: u32,
    record: String,
}

/// Why an entry could not be appended.
#[derive(Debug)]
pub enum AppendError {
    /// Another JobManager has taken over. This one must stop.
    Conflict,
    /// The store failed; the entry is certainly not there.
    Failed(Error),
    /// The store failed; the entry may be there, and count. Appending the same again can make it clear. Until then nothing
    /// that it speaks of may be deleted.
    Unclear(Error),
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Failed(error) | AppendError::Unclear(error) => error,
            AppendError::Conflict => Self::new(
                ErrorKind::Incompatible,
                "another JobManager has taken over this checkpoint directory; one directory belongs to one job",
            ),
        }
    }
}

/// The journal of a job, as its leader writes it.
#[derive(Debug)]
pub struct Journal {
    storage: CheckpointStorage,
    /// Number of the newest entry.
    newest: u64,
    record: JobRecord,
}

fn path_of(number: u64) -> String {
    format!("{DIRECTORY}/{number:020}.json")
}

impl Journal {
    /// Reads the newest entry without taking over; `None` when the job has never run.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when it is damaged.
    pub async fn read(storage: &CheckpointStorage) -> Result<Option<JobRecord>> {
        Ok(newest_readable(storage).await?.map(|(_, record)| record))
    }

    /// Takes over: becomes leader in an epoch of its own. `change` is applied to what the journal says, after its epoch was
    /// raised.
    ///
    /// # Errors
    /// When the journal is damaged, another JobManager takes over at the same time, or the store fails.
    pub async fn lead(
        storage: CheckpointStorage,
        change: impl FnOnce(&mut JobRecord),
    ) -> Result<Self, AppendError> {
        let found = newest_readable(&storage).await.map_err(AppendError::Failed)?;
        let (newest, mut record) = found.unwrap_or_default();
        record.epoch = record.epoch.next();
        change(&mut record);
        let mut journal = Self { storage, newest, record: JobRecord::default() };
        journal.append(record).await?;
        Ok(journal)
    }

    /// What is true now.
    #[must_use]
    pub fn record(&self) -> &JobRecord {
        &self.record
    }

    /// Makes sure that nobody has taken over. A JobManager that slept does not know it otherwise.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing is written.
    pub async fn confirm_lead(&self) -> Result<(), AppendError> {
        let highest = numbers(&self.storage).await.map_err(AppendError::Failed)?.into_iter().max();
        if highest > Some(self.newest) { Err(AppendError::Conflict) } else { Ok(()) }
    }

    /// Makes `record` true.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&mut self, record: JobRecord) -> Result<(), AppendError> {
        let number = self.newest + 1;
        let path = path_of(number);
        let bytes = encode(&record).map_err(AppendError::Failed)?;
        let store = self.storage.objects();
        let put = store
            .put_opts(&Path::from(path.as_str()), PutPayload::from(bytes.clone()), PutMode::Create.into())
            .await;
        if let Err(error) = put {
            let is_taken = matches!(error, object_store::Error::AlreadyExists { .. });
            // An answer may have been lost: then the entry that is there is this one.
            match read_raw(&self.storage, &path).await {
                Ok(Some(there)) if there == bytes => {}
                Ok(Some(_)) => return Err(AppendError::Conflict),
                Ok(None) if is_taken => return Err(AppendError::Conflict),
                Ok(None) => return Err(AppendError::Failed(failed("write", &path, error))),
                Err(unclear) => return Err(AppendError::Unclear(unclear)),
            }
        }
        // A deposed leader that slept for long may have written a number that was taken, and deleted since.
        let highest = numbers(&self.storage).await.map_err(AppendError::Unclear)?.into_iter().max();
        if highest > Some(number) {
            return Err(AppendError::Conflict);
        }
        self.newest = number;
        self.record = record;
        self.forget_old_entries().await;
        Ok(())
    }

    /// Entries that could not be deleted earlier go as well. Failing does no harm.
    async fn forget_old_entries(&self) {
        let numbers = numbers(&self.storage).await.unwrap_or_default();
        for old in numbers.into_iter().filter(|number| number + ENTRIES_KEPT <= self.newest) {
            let path = path_of(old);
            if let Err(error) =
                ignore_missing(self.storage.objects().delete(&Path::from(path.as_str())).await)
            {
                tracing::warn!(path, %error, "an old journal entry cannot be deleted");
            }
        }
    }
}

fn encode(record: &JobRecord) -> Result<Vec<u8>> {
    let unwritable = |error| Error::internal(format!("a journal entry cannot be written: {error}"));
    let record = serde_json::to_string(record).map_err(unwritable)?;
    let entry = StoredEntry { format: FORMAT, crc: crc32c::crc32c(record.as_bytes()), record };
    serde_json::to_vec(&entry).map_err(unwritable)
}

fn decode(path: &str, bytes: &[u8]) -> Result<JobRecord> {
    let damaged =
        |what: String| Error::new(ErrorKind::State, format!("journal entry {path} is damaged: {what}"));
    let entry: StoredEntry = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    if entry.format != FORMAT {
        return Err(damaged(format!("format {} is unknown to this binary", entry.format)));
    }
    if crc32c::crc32c(entry.record.as_bytes()) != entry.crc {
        return Err(damaged("its checksum is wrong".into()));
    }
    serde_json::from_str(&entry.record).map_err(|error| damaged(error.to_string()))
}

async fn numbers(storage: &CheckpointStorage) -> Result<Vec<u64>> {
    let listed = storage.objects().list(Some(&Path::from(DIRECTORY)));
    let files: Vec<_> = listed.try_collect().await.map_err(|error| failed("list", DIRECTORY, error))?;
    let number = |name: &str| name.strip_suffix(".json")?.parse().ok();
    Ok(files.iter().filter_map(|file| number(file.location.filename()?)).collect())
}

async fn read_raw(storage: &CheckpointStorage, path: &str) -> Result<Option<Vec<u8>>> {
    let read = async {
        let found = storage.objects().get(&Path::from(path)).await?;
        if found.meta.size > ENTRY_BYTES_MAX {
            let source = format!("it has {} bytes", found.meta.size).into();
            return Err(object_store::Error::Generic { store: "journal", source });
        }
        found.bytes().await
    };
    match read.await {
        Ok(bytes) => Ok(Some(bytes.to_vec())),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed("read", path, error)),
    }
}

/// The newest entry. It must be readable: an older one would not know of later checkpoints and generations.
async fn newest_readable(storage: &CheckpointStorage) -> Result<Option<(u64, JobRecord)>> {
    let Some(newest) = numbers(storage).await?.into_iter().max() else { return Ok(None) };
    let path = path_of(newest);
    match read_raw(storage, &path).await? {
        Some(bytes) => Ok(Some((newest, decode(&path, &bytes)?))),
        None => Err(Error::transient(format!("journal entry {path} vanished while it was read"))),
    }
}
