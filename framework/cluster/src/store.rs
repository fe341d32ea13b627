//! The job's checkpoint directory as the JobManager writes it: one change of the journal at a time.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use flott_control::{checkpoint::StoreFailure, job::History};
use flott_core::{
    CheckpointId, Clock, ClockReading, Error, ErrorKind, Generation, KeyGroupRange, MonotonicTime,
    OperatorUid, Result, source::Split,
};
use flott_state::storage::{
    AppendError, CheckpointStorage, JobRecord, Journal, Manifest, Reign, TerminalRecord,
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};

/// Key groups that are read at a time when files are looked through.
const GROUPS_AT_A_TIME: u32 = 64;

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
    newest: Arc<AtomicU64>,
    doubt: Arc<OnceLock<String>>,
    successor: Arc<OnceLock<Reign>>,
}

impl CheckpointStore {
    /// The directory of a job that this JobManager leads.
    pub(crate) fn new(storage: CheckpointStorage, journal: Journal) -> Self {
        let newest = Arc::new(AtomicU64::new(journal.newest()));
        let journal = Arc::new(Mutex::new(journal));
        Self { storage, journal, newest, doubt: Arc::default(), successor: Arc::default() }
    }

    /// Number of the newest journal entry, wherever it is shared.
    pub(crate) fn newest_entry(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.newest)
    }

    /// Makes sure that no other JobManager has taken over.
    pub(crate) async fn confirm_lead(&self) -> Result<(), StoreError> {
        self.journal.lock().await.confirm_lead().await.map_err(|error| self.refused(error))
    }

    /// As [`Self::confirm_lead`], but nothing while the journal is written: the writer learns the same.
    pub(crate) async fn look_for_successor(&self) -> Result<(), StoreError> {
        let Ok(journal) = self.journal.try_lock() else { return Ok(()) };
        journal.confirm_lead().await.map_err(|error| self.refused(error))
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

    /// Writes the manifest, and then makes the checkpoint count. Not when `append_before` has passed by then: what it lists
    /// could be aborted before it is committed. An append that was begun takes as long as it takes.
    pub(crate) async fn store(
        &self,
        manifest: Manifest,
        append_before: MonotonicTime,
        clock: &dyn Clock,
    ) -> Result<(), StoreError> {
        let too_slow = || {
            let text = format!("the checkpoint directory {} did not answer in time", self.place());
            StoreError::Failed(Error::transient(text))
        };
        let (begun, left) = (ClockReading::now(clock), append_before.since(clock.now()));
        let writing = async {
            let entry = self.storage.write_manifest(&manifest).await?;
            Ok::<_, Error>((entry, Arc::clone(&self.journal).lock_owned().await))
        };
        let written = timeout(left, writing).await;
        let (entry, journal) = written.map_err(|_| too_slow())??;
        if begun.age(ClockReading::now(clock)) >= left {
            return Err(too_slow());
        }
        self.change_locked(journal, |record| {
            record.last_checkpoint = record.last_checkpoint.max(entry.checkpoint);
            record.is_repeat = false;
            record.checkpoints.push(entry);
        })
        .await
    }

    /// Takes a checkpoint out of the journal that was stored too late; its files stay. `is_repeat`: whether the run had no
    /// checkpoint before and repeats another one.
    pub(crate) async fn withdraw(&self, checkpoint: CheckpointId, is_repeat: bool) -> Result<(), StoreError> {
        self.change(|record| {
            record.is_repeat = is_repeat;
            record.checkpoints.retain(|entry| entry.checkpoint != checkpoint);
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
        let journal = Arc::clone(&self.journal).lock_owned().await;
        self.change_locked(journal, change).await
    }

    async fn change_locked(
        &self,
        mut journal: OwnedMutexGuard<Journal>,
        change: impl FnOnce(&mut JobRecord),
    ) -> Result<(), StoreError> {
        let mut record = journal.record().clone();
        change(&mut record);
        // An append goes on when nobody waits for it any more: broken off, it could leave an entry that this journal
        // knows nothing of, and that looks like another leader's.
        let newest = Arc::clone(&self.newest);
        let appending = async move {
            journal.append_until_clear(record).await?;
            newest.store(journal.newest(), Ordering::Relaxed);
            Ok(())
        };
        let appended = tokio::spawn(appending).await;
        let lost = |error| AppendError::Unclear(Error::internal(format!("its writer is gone: {error}")));
        appended.unwrap_or_else(|error| Err(lost(error))).map_err(|error| self.refused(error))
    }

    fn refused(&self, error: AppendError) -> StoreError {
        match error {
            AppendError::Conflict(reign) => {
                if let Some(reign) = reign {
                    let _ = self.successor.set(*reign);
                }
                StoreError::Conflict
            }
            AppendError::Failed(error) => StoreError::Failed(error),
            AppendError::Unclear(error) => {
                let _ = self.doubt.set(error.to_string());
                StoreError::Conflict
            }
        }
    }

    /// The JobManager that has deposed this one, if there is one and it is known.
    pub(crate) fn successor(&self) -> Option<&Reign> {
        self.successor.get()
    }

    /// Why it cannot be told what the journal says, if that is so.
    pub(crate) fn doubt(&self) -> Option<&str> {
        self.doubt.get().map(String::as_str)
    }
}

/// What the JobMaster has to know of earlier JobManagers.
pub(crate) fn history(record: &JobRecord) -> History {
    History {
        completed: record.checkpoints.iter().map(|entry| entry.checkpoint).collect(),
        last_checkpoint_id: record.last_checkpoint,
        generation: record.generation,
        unswept: record.unswept.clone(),
        is_repeat: record.is_repeat,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsStr,
        os::unix::ffi::OsStrExt,
        sync::atomic::{AtomicI64, Ordering},
        time::Duration,
    };

    use flott_control::job::JobStatus;
    use flott_core::{AttemptId, MaxParallelism, ProcessingTime, SystemClock};
    use tokio::{task::yield_now, time::sleep};

    use flott_core::random;
    use flott_state::storage::Leader;

    use super::*;
    use crate::candidate::{Candidate, Led, Observation};

    async fn lead(url: &str, is_again_wanted: bool) -> (CheckpointStore, JobRecord) {
        let observation = Candidate::observe(url, "job", is_again_wanted).await.unwrap();
        let Observation::Open(candidate) = observation else { panic!("the job has ended") };
        let leader = Leader { nonce: random::number(), ..Leader::default() };
        let led = candidate.lead(leader, "run").await.unwrap();
        let Led::Leading { store, record } = led else { panic!("the job has ended meanwhile") };
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
        let manifest = Manifest::new(CheckpointId(1), record.epoch, AttemptId(1), groups);
        store.store(manifest, SystemClock.now() + Duration::from_secs(60), &SystemClock).await.unwrap();
        assert!(!lead(&url, true).await.1.is_repeat);
    }

    #[tokio::test]
    async fn a_checkpoint_is_not_appended_after_its_time_and_can_be_withdrawn() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}", directory.path().display());
        let (store, record) = lead(&url, false).await;
        let (groups, clock) = (MaxParallelism::default(), SystemClock);
        let manifest = |number| Manifest::new(CheckpointId(number), record.epoch, AttemptId(1), groups);
        let kept = async || -> Vec<_> {
            let record = Journal::read(&store.storage).await.unwrap().unwrap();
            record.checkpoints.iter().map(|entry| entry.checkpoint.0).collect()
        };
        let late = store.store(manifest(1), clock.now(), &clock).await.unwrap_err();
        assert!(
            matches!(&late, StoreError::Failed(error) if error.to_string().contains("did not answer in time"))
        );
        let soon = clock.now() + Duration::from_secs(60);
        store.store(manifest(2), soon, &clock).await.unwrap();
        assert_eq!(kept().await, [2]);

        // Another change of the journal does not get any further.
        let stuck = store.journal.lock().await;
        let soon = clock.now() + Duration::from_millis(50);
        assert!(store.store(manifest(3), soon, &clock).await.is_err());
        drop(stuck);
        assert_eq!(kept().await, [2]);

        store.withdraw(CheckpointId(2), false).await.unwrap();
        assert_eq!(kept().await, [0; 0]);
    }

    /// A machine that is suspended for a minute each time that its clocks are read.
    #[derive(Default)]
    struct Suspended(AtomicI64);

    impl Clock for Suspended {
        fn now(&self) -> MonotonicTime {
            MonotonicTime::from_millis(1_000)
        }
        fn processing_time(&self) -> ProcessingTime {
            ProcessingTime(self.0.fetch_add(60_000, Ordering::Relaxed))
        }
    }

    #[tokio::test]
    async fn a_checkpoint_is_not_appended_when_the_machine_was_suspended_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}", directory.path().display());
        let (store, record) = lead(&url, false).await;
        let manifest = Manifest::new(CheckpointId(1), record.epoch, AttemptId(1), MaxParallelism::default());
        let clock = Suspended::default();
        let soon = clock.now() + Duration::from_secs(30);
        let late = store.store(manifest, soon, &clock).await.unwrap_err();
        assert!(
            matches!(&late, StoreError::Failed(error) if error.to_string().contains("did not answer in time"))
        );
    }

    #[tokio::test]
    async fn files_that_cannot_be_deleted_do_not_keep_a_jobmanager_from_leading() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}", directory.path().display());
        let stray = directory.path().join("checkpoints");
        std::fs::create_dir_all(&stray).unwrap();
        std::fs::write(stray.join(OsStr::from_bytes(b"\xff")), "").unwrap();
        let (_, record) = lead(&url, false).await;
        assert_eq!(record.epoch.0, 1);
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
        let observation = Candidate::observe(&url, "job", false).await.unwrap();
        assert!(matches!(observation, Observation::Ended(_)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_append_is_repeated_until_it_is_clear_and_a_doubt_is_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}", directory.path().display());
        let (store, _) = lead(&url, false).await;
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
        sleep(Duration::from_millis(50)).await;
        std::fs::remove_file(&unlistable).unwrap();
        raising.await.unwrap().unwrap();
        assert_eq!(store.doubt(), None);

        let refused = store.refused(AppendError::Unclear(Error::transient("no answer")));
        assert!(matches!(refused, StoreError::Conflict), "{refused:?}");
        assert!(store.doubt().unwrap().contains("no answer"), "{:?}", store.doubt());
    }

    #[tokio::test]
    async fn a_deposed_jobmanager_knows_by_whom() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}", directory.path().display());
        let (first, _) = lead(&url, false).await;
        first.look_for_successor().await.unwrap();
        assert_eq!(first.successor(), None);
        let (_, second) = lead(&url, false).await;
        assert!(matches!(first.look_for_successor().await, Err(StoreError::Conflict)));
        assert_eq!(first.successor(), Some(&second.reign()));
    }
}
