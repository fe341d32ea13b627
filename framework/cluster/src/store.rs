//! The job's checkpoint directory as the JobManager writes it: one change of the journal at a time.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use flott_control::{checkpoint::StoreFailure, job::History};
use flott_core::{
    CheckpointId, Error, ErrorKind, Generation, KeyGroupRange, OperatorUid, Result, source::Split,
};
use flott_state::storage::{AppendError, CheckpointStorage, JobRecord, Journal, Manifest, TerminalRecord};
use tokio::{sync::Mutex, time::sleep};

/// Key groups that are read at a time when files are looked through.
const GROUPS_AT_A_TIME: u32 = 64;

/// Times that a change is appended before it counts as unknown whether the journal has it.
const APPENDS_MAX: u32 = 10;

/// Pause before a change is appended again.
const APPEND_DELAY: Duration = Duration::from_millis(500);

/// Why something was not written.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// Another JobManager leads, or it cannot be told what the journal says: see [`CheckpointStore::doubt`]. This
    /// JobManager must stop, and delete nothing.
    Conflict,
    /// The storage failed.
    Failed(Error),
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for StoreFailure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Conflict,
            StoreError::Failed(error) => Self::Io(error.to_string()),
        }
    }
}

/// Journal and checkpoints of a job under this JobManager's reign.
#[derive(Clone)]
pub(crate) struct CheckpointStore {
    storage: CheckpointStorage,
    journal: Arc<Mutex<Journal>>,
    doubt: Arc<OnceLock<String>>,
}

/// What the checkpoint directory says of the job.
pub(crate) enum Opened {
    /// The job has ended; nothing was changed.
    Ended(TerminalRecord),
    /// This JobManager leads.
    Leading { store: CheckpointStore, record: Box<JobRecord> },
}

impl CheckpointStore {
    /// Takes over the directory at `url`. `new_run` names a run that begins from nothing.
    ///
    /// # Errors
    /// When it cannot be used, is damaged, or belongs to another job.
    pub(crate) async fn open(
        url: &str,
        job_name: &str,
        is_again_wanted: bool,
        new_run: String,
    ) -> Result<Opened> {
        let storage = CheckpointStorage::open(url).await?;
        let found = Journal::read(&storage).await?;
        let owner = found.as_ref().map_or("", |record| record.job_name.as_str());
        if !owner.is_empty() && owner != job_name {
            return Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "checkpoint_dir {url:?} belongs to job {owner:?}, not to {job_name:?}; one directory is one job: \
                     choose another"
                ),
            ));
        }
        let terminal = found.and_then(|record| record.terminal);
        if let Some(terminal) = terminal.filter(|_| !is_again_wanted) {
            return Ok(Opened::Ended(terminal));
        }
        let journal = Journal::lead(storage.clone(), |record| {
            if is_again_wanted && record.terminal.is_some() {
                // What may be open in external systems stays known, and ids go on: nothing of the old run is mistaken
                // for the new one's.
                record.checkpoints.clear();
                record.initial_splits.clear();
                record.terminal = None;
                record.is_repeat = true;
                record.run.clear();
            }
            if record.run.is_empty() {
                record.run = new_run;
            }
            record.job_name = job_name.to_owned();
        });
        let journal = journal.await?;
        let record = Box::new(journal.record().clone());
        let kept: BTreeSet<&str> = record.checkpoints.iter().map(|entry| entry.directory.as_str()).collect();
        storage.discard_leftovers(&kept).await?;
        let store = Self { storage, journal: Arc::new(Mutex::new(journal)), doubt: Arc::default() };
        Ok(Opened::Leading { store, record })
    }

    /// Makes sure that no other JobManager has taken over.
    pub(crate) async fn confirm_lead(&self) -> Result<(), StoreError> {
        self.journal.lock().await.confirm_lead().await.map_err(|error| self.refused(error))
    }

    /// Where it is on this machine, for people.
    pub(crate) fn place(&self) -> String {
        self.storage.place()
    }

    pub(crate) async fn raise_generation(
        &self,
        generation: Generation,
        unswept: Vec<(Generation, u32)>,
    ) -> Result<(), StoreError> {
        self.change(|record| {
            record.generation = generation;
            record.unswept = unswept;
        })
        .await
    }

    /// What the first look of an enumerator has found, if there was one.
    pub(crate) async fn first_splits(&self, uid: &OperatorUid) -> Option<Vec<Split>> {
        self.journal.lock().await.record().initial_splits.get(uid).cloned()
    }

    /// Keeps what the first look of an enumerator has found.
    pub(crate) async fn keep_first_splits(
        &self,
        uid: OperatorUid,
        splits: Vec<Split>,
    ) -> Result<(), StoreError> {
        self.change(|record| drop(record.initial_splits.insert(uid, splits))).await
    }

    /// Writes the manifest, and then makes the checkpoint count.
    pub(crate) async fn store(&self, manifest: Manifest) -> Result<(), StoreError> {
        let entry = self.storage.write_manifest(&manifest).await?;
        self.change(|record| {
            record.last_checkpoint = record.last_checkpoint.max(entry.checkpoint);
            record.is_repeat = false;
            record.checkpoints.push(entry);
        })
        .await
    }

    /// Reads a checkpoint's manifest and makes sure that its files are there; `is_thorough`: and reads all of them.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when it is not as it was written.
    pub(crate) async fn load(&self, checkpoint: CheckpointId, is_thorough: bool) -> Result<Manifest> {
        let entry = {
            let journal = self.journal.lock().await;
            let mut entries = journal.record().checkpoints.iter();
            entries.find(|entry| entry.checkpoint == checkpoint).cloned()
        };
        let entry = entry.ok_or_else(|| {
            Error::new(ErrorKind::State, format!("the journal does not know checkpoint {checkpoint}"))
        })?;
        let manifest = self.storage.read_manifest(&entry).await?;
        self.storage.verify(&manifest).await?;
        if is_thorough {
            self.read_through(&manifest).await?;
        }
        Ok(manifest)
    }

    async fn read_through(&self, manifest: &Manifest) -> Result<()> {
        let groups = u32::try_from(manifest.max_parallelism.groups()).unwrap_or(u32::MAX);
        for operator in manifest.operators.iter().filter(|operator| !operator.files.is_empty()) {
            for start in (0..groups).step_by(GROUPS_AT_A_TIME as usize) {
                let range = KeyGroupRange { start, end: (start + GROUPS_AT_A_TIME).min(groups) };
                self.storage.restore(manifest, &operator.uid, range).await?;
            }
        }
        Ok(())
    }

    /// Deletes completed checkpoints: first from the journal, then their files.
    pub(crate) async fn discard(&self, checkpoints: Vec<CheckpointId>) -> Result<(), StoreError> {
        let mut directories = Vec::new();
        self.change(|record| {
            record.checkpoints.retain(|entry| {
                let is_kept = !checkpoints.contains(&entry.checkpoint);
                directories.extend((!is_kept).then(|| entry.directory.clone()));
                is_kept
            });
        })
        .await?;
        for directory in directories {
            self.storage.discard(&directory).await?;
        }
        Ok(())
    }

    /// Deletes the files of a checkpoint that was not completed.
    pub(crate) async fn discard_files(&self, directory: &str) -> Result<()> {
        self.storage.discard(directory).await
    }

    /// The job has ended and must not be run again.
    pub(crate) async fn end(&self, terminal: TerminalRecord) -> Result<(), StoreError> {
        self.change(|record| record.terminal = Some(terminal)).await
    }

    async fn change(&self, change: impl FnOnce(&mut JobRecord)) -> Result<(), StoreError> {
        let mut journal = Arc::clone(&self.journal).lock_owned().await;
        let mut record = journal.record().clone();
        change(&mut record);
        // An append goes on when nobody waits for it any more: broken off, it could leave an entry that this journal
        // knows nothing of, and that looks like another leader's.
        let appended = tokio::spawn(async move { append(&mut journal, record).await }).await;
        let lost = |error| AppendError::Unclear(Error::internal(format!("its writer is gone: {error}")));
        appended.unwrap_or_else(|error| Err(lost(error))).map_err(|error| self.refused(error))
    }

    fn refused(&self, error: AppendError) -> StoreError {
        match error {
            AppendError::Conflict => StoreError::Conflict,
            AppendError::Failed(error) => StoreError::Failed(error),
            AppendError::Unclear(error) => {
                let _ = self.doubt.set(error.to_string());
                StoreError::Conflict
            }
        }
    }

    /// Why it cannot be told what the journal says, if that is so.
    pub(crate) fn doubt(&self) -> Option<&str> {
        self.doubt.get().map(String::as_str)
    }
}

/// Appends a record, and again as long as it is unclear whether it is there.
async fn append(journal: &mut Journal, record: JobRecord) -> Result<(), AppendError> {
    for _ in 1..APPENDS_MAX {
        match journal.append(record.clone()).await {
            Err(AppendError::Unclear(error)) => {
                tracing::warn!(%error, "it is unclear whether a journal entry is written; trying again");
                sleep(APPEND_DELAY).await;
            }
            clear => return clear,
        }
    }
    journal.append(record).await
}

/// What the JobMaster has to know of earlier JobManagers.
pub(crate) fn history(record: &JobRecord) -> History {
    History {
        completed: record.checkpoints.iter().map(|entry| entry.checkpoint).collect(),
        last_checkpoint_id: record.last_checkpoint,
        generation: record.generation,
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use flott_control::job::JobStatus;
    use flott_core::{AttemptId, MaxParallelism};
    use tokio::task::yield_now;

    use super::*;

    async fn lead(url: &str, is_again_wanted: bool) -> (CheckpointStore, JobRecord) {
        let opened = CheckpointStore::open(url, "job", is_again_wanted, "run".into()).await.unwrap();
        let Opened::Leading { store, record } = opened else { panic!("the job has ended") };
        (store, *record)
    }

    fn finished() -> TerminalRecord {
        TerminalRecord { status: JobStatus::Finished.to_string(), at_ms: 0, message: None }
    }

    #[tokio::test]
    async fn a_run_repeats_the_one_before_until_its_first_checkpoint() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}", directory.path().display());
        let (store, record) = lead(&url, true).await;
        assert!(!record.is_repeat);
        store.end(finished()).await.unwrap();
        for is_again_wanted in [true, true, false] {
            let (_, record) = lead(&url, is_again_wanted).await;
            assert!(record.is_repeat);
        }
        let (store, record) = lead(&url, true).await;
        let groups = MaxParallelism::default();
        store.store(Manifest::new(CheckpointId(1), record.epoch, AttemptId(1), groups)).await.unwrap();
        assert!(!lead(&url, true).await.1.is_repeat);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_that_is_given_up_half_way_does_not_look_like_another_leaders() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}", directory.path().display());
        let (store, _) = lead(&url, false).await;
        for number in 0..60_u64 {
            let raised = store.clone();
            let raising =
                tokio::spawn(async move { raised.raise_generation(Generation(number), Vec::new()).await });
            for _ in 0..number * number {
                yield_now().await;
            }
            raising.abort();
            let _ = raising.await;
        }
        store.end(finished()).await.unwrap();
        let opened = CheckpointStore::open(&url, "job", false, "later".into()).await.unwrap();
        assert!(matches!(opened, Opened::Ended(_)));
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn an_append_is_repeated_until_it_is_clear_and_a_doubt_is_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}", directory.path().display());
        let opened = CheckpointStore::open(&url, "job", false, "run".into()).await.unwrap();
        let Opened::Leading { store, .. } = opened else { panic!("a new directory has no end") };
        // A name that is no path makes the store refuse to list the journal, though entries can be written.
        let journal = directory.path().join("journal");
        let unlistable = journal.join(OsStr::from_bytes(b"\xff"));
        std::fs::write(&unlistable, "").unwrap();
        let raising = tokio::spawn({
            let store = store.clone();
            async move { store.raise_generation(Generation(1), Vec::new()).await }
        });
        while !journal.join(format!("{:020}.json", 2)).exists() {
            yield_now().await;
        }
        sleep(APPEND_DELAY / 10).await;
        std::fs::remove_file(&unlistable).unwrap();
        raising.await.unwrap().unwrap();
        assert_eq!(store.doubt(), None);

        let refused = store.refused(AppendError::Unclear(Error::transient("no answer")));
        assert!(matches!(refused, StoreError::Conflict), "{refused:?}");
        assert!(store.doubt().unwrap().contains("no answer"), "{:?}", store.doubt());
    }
}
