//! The journal: what is true of the job, and who may say so.
//!
//! Entries are objects with ascending numbers, each created only if it does not exist, each saying everything. Whoever has
//! written the highest one is the leader. A JobManager takes over by writing the next entry with a higher epoch; the
//! one it deposes finds its next number taken.
//!
//! Every entry carries a random number of its writer. So two writers never write equal bytes, and an entry at one's next
//! number is one's own if and only if it has the bytes that were to be written. The answer of the store proves neither: a
//! store repeats a request whose answer was lost, and then says of one's own entry that it exists already.
//!
//! A listing may be old where a file system caches directories (NFS, for up to a minute), but a read by name is not. So
//! numbers behind the highest listed one are looked up by name.

use std::time::Duration;

use flott_core::{Error, ErrorKind, Result};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, path::Path};
use tokio::time::sleep;

use super::{
    CheckpointStorage, JobRecord, Leader, Reign,
    checkpoint::ignore_missing,
    failed,
    record::{decode, encode},
};

const DIRECTORY: &str = "journal";

/// Entries that are kept behind the newest: more than a leader writes in the time for which a listing may be old. So the
/// entry behind the highest listed one is there, if it was ever written.
const ENTRIES_KEPT: u64 = 256;

/// Numbers that are looked up by name behind the highest listed one.
const UNLISTED_MAX: u64 = 4096;

/// Appends of one entry, as long as it is unclear whether it is there.
const APPENDS_MAX: u32 = 10;
const APPEND_DELAY: Duration = Duration::from_millis(500);

/// Times that a JobManager tries to take over from a leader that appends at the same moment.
const LEAD_TRIES_MAX: u32 = 20;

/// Largest entry that is read.
const ENTRY_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Why an entry could not be appended.
#[derive(Debug)]
pub enum AppendError {
    /// Another JobManager leads: this one, if its entry could be read. Whoever tried to write must stop.
    Conflict(Option<Box<Reign>>),
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
            AppendError::Conflict(reign) => {
                let who = reign.map_or_else(|| "another one".to_owned(), |reign| reign.to_string());
                Self::new(
                    ErrorKind::Incompatible,
                    format!(
                        "this JobManager does not lead the job: {who} has taken over the checkpoint directory at the \
                         same time. One directory belongs to one job, and a job has one JobManager"
                    ),
                )
            }
        }
    }
}

/// The journal as a JobManager saw it before it takes over.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    record: Option<JobRecord>,
}

impl Observed {
    /// The newest entry; `None` when the job has never run.
    #[must_use]
    pub fn record(&self) -> Option<&JobRecord> {
        self.record.as_ref()
    }

    /// Returns `true` if no JobManager has taken over since, and the job has not ended since. The leader may have written more.
    fn is_led_as_before(&self, found: Option<&JobRecord>) -> bool {
        let aspect = |record: &JobRecord| (record.epoch, record.leader.nonce, record.terminal.clone());
        self.record.as_ref().map(aspect) == found.map(aspect)
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

    /// The newest entry, for a JobManager that may take over later. Changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when it is damaged.
    pub async fn observe(storage: &CheckpointStorage) -> Result<Observed> {
        Ok(Observed { record: Self::read(storage).await? })
    }

    /// Reads entry `number` or a later one, by name: also where listings are old. `None` when none of them is there.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when it is damaged.
    pub async fn read_from(storage: &CheckpointStorage, number: u64) -> Result<Option<JobRecord>> {
        // Of entries that were superseded long ago, one in each of these steps is kept.
        for number in (number..).step_by(ENTRIES_KEPT as usize).take((UNLISTED_MAX / ENTRIES_KEPT) as usize) {
            let path = path_of(number);
            if let Some(bytes) = read_raw(storage, &path).await? {
                return decode(&path, &bytes).map(Some);
            }
        }
        Ok(None)
    }

    /// Takes over from whoever led when `observed` was seen: becomes leader in an epoch of its own. `change` is applied to
    /// what the journal says, after epoch and leader were set.
    ///
    /// Exactly one of the JobManagers that observed the same leader succeeds.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] when another JobManager has taken over since, or the job has ended. Otherwise when the
    /// journal is damaged or the store fails.
    pub async fn lead(
        storage: CheckpointStorage,
        observed: &Observed,
        leader: Leader,
        change: impl Fn(&mut JobRecord),
    ) -> Result<Self, AppendError> {
        let mut conflict = None;
        for _ in 0..LEAD_TRIES_MAX {
            let found = newest_readable(&storage).await.map_err(AppendError::Failed)?;
            if !observed.is_led_as_before(found.as_ref().map(|(_, record)| record)) {
                return Err(AppendError::Conflict(found.map(|(_, record)| Box::new(record.reign()))));
            }
            let (mut journal, record) = Self::candidate(&storage, found, leader.clone(), &change);
            match journal.append_until_clear(record).await {
                // Most likely the present leader has just completed a checkpoint.
                Err(AppendError::Conflict(reign)) => conflict = reign,
                Err(error) => return Err(error),
                Ok(()) => return Ok(journal),
            }
        }
        Err(AppendError::Conflict(conflict))
    }

    /// A journal that does not lead yet, and the entry by which it would.
    fn candidate(
        storage: &CheckpointStorage,
        found: Option<(u64, JobRecord)>,
        leader: Leader,
        change: impl Fn(&mut JobRecord),
    ) -> (Self, JobRecord) {
        let (newest, mut record) = found.unwrap_or_default();
        record.epoch = record.epoch.next();
        record.leader = leader;
        change(&mut record);
        (Self { storage: storage.clone(), newest, record: JobRecord::default() }, record)
    }

    /// Number of the newest entry.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest
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
        let highest = highest(&self.storage, self.newest).await.map_err(AppendError::Failed)?;
        if highest > self.newest { Err(self.conflict().await) } else { Ok(()) }
    }

    /// The error that says who leads.
    async fn conflict(&self) -> AppendError {
        let newest = newest_readable(&self.storage).await.ok().flatten();
        AppendError::Conflict(newest.map(|(_, record)| Box::new(record.reign())))
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
            // The store's answer proves nothing; the bytes do.
            match read_raw(&self.storage, &path).await {
                Ok(Some(there)) if there == bytes => {}
                Ok(Some(_)) => return Err(self.conflict().await),
                Ok(None) if is_taken => return Err(self.conflict().await),
                Ok(None) => return Err(AppendError::Failed(failed("write", &path, error))),
                Err(unclear) => return Err(AppendError::Unclear(unclear)),
            }
        }
        // A deposed leader that slept for long may have written a number that was taken, and deleted since.
        let highest = highest(&self.storage, number).await.map_err(AppendError::Unclear)?;
        if highest > number {
            return Err(self.conflict().await);
        }
        self.newest = number;
        self.record = record;
        self.forget_old_entries().await;
        Ok(())
    }

    /// As [`Self::append`], and again as long as it is unclear whether the entry is there.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append_until_clear(&mut self, record: JobRecord) -> Result<(), AppendError> {
        for _ in 1..APPENDS_MAX {
            match self.append(record.clone()).await {
                Err(AppendError::Unclear(error)) => {
                    tracing::warn!(%error, "it is unclear whether a journal entry is written; trying again");
                    sleep(APPEND_DELAY).await;
                }
                clear => return clear,
            }
        }
        self.append(record).await
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

async fn numbers(storage: &CheckpointStorage) -> Result<Vec<u64>> {
    let listed = storage.objects().list(Some(&Path::from(DIRECTORY)));
    let files: Vec<_> = listed.try_collect().await.map_err(|error| failed("list", DIRECTORY, error))?;
    let number = |name: &str| name.strip_suffix(".json")?.parse().ok();
    Ok(files.iter().filter_map(|file| number(file.location.filename()?)).collect())
}

/// The highest number that is taken, and at least `known`.
async fn highest(storage: &CheckpointStorage, known: u64) -> Result<u64> {
    let mut highest = numbers(storage).await?.into_iter().max().unwrap_or(0).max(known);
    for _ in 0..UNLISTED_MAX {
        let next = path_of(highest + 1);
        match storage.objects().head(&Path::from(next.as_str())).await {
            Ok(_) => highest += 1,
            Err(object_store::Error::NotFound { .. }) => break,
            Err(error) => return Err(failed("read", &next, error)),
        }
    }
    Ok(highest)
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
    let newest = highest(storage, 0).await?;
    if newest == 0 {
        return Ok(None);
    }
    let path = path_of(newest);
    match read_raw(storage, &path).await? {
        Some(bytes) => Ok(Some((newest, decode(&path, &bytes)?))),
        None => Err(Error::transient(format!("journal entry {path} vanished while it was read"))),
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
