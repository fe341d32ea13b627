//! A JobManager before it leads. It *observes* the journal, checks whatever can be checked without changing anything, and
//! then *leads* by appending to the journal. Until that moment a JobManager that leads already is not disturbed.

use std::collections::BTreeSet;

use flott_control::job::nothing_to_restore;
use flott_core::{Error, ErrorKind, Result};
use flott_state::storage::{
    AppendError, CheckpointEntry, CheckpointStorage, JobRecord, Journal, Leader, Manifest, Observed,
    TerminalRecord,
};

use crate::store::CheckpointStore;

/// Times that all kept checkpoints may be replaced by the present leader while they are looked at.
const LOOKS_MAX: u32 = 5;

/// The job as the checkpoint directory shows it.
pub(crate) enum Observation {
    /// The job has ended.
    Ended(TerminalRecord),
    /// It can be led.
    Open(Box<Candidate>),
}

/// The result of an attempt to lead.
pub(crate) enum Led {
    /// The job has ended meanwhile; nothing was changed.
    Ended(TerminalRecord),
    /// This JobManager leads.
    Leading { store: CheckpointStore, record: Box<JobRecord> },
}

/// A JobManager that does not lead yet.
pub(crate) struct Candidate {
    storage: CheckpointStorage,
    observed: Observed,
    job_name: String,
    is_again_wanted: bool,
}

impl Candidate {
    /// Looks at the directory at `url`. Changes nothing in its journal.
    ///
    /// # Errors
    /// When it cannot be used, is damaged, or belongs to another job.
    pub(crate) async fn observe(url: &str, job_name: &str, is_again_wanted: bool) -> Result<Observation> {
        let storage = CheckpointStorage::open(url).await?;
        let observed = Journal::observe(&storage).await?;
        let owner = observed.record().map_or("", |record| record.job_name.as_str());
        if !owner.is_empty() && owner != job_name {
            return Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "checkpoint_dir {url:?} belongs to job {owner:?}, not to {job_name:?}; one directory belongs to \
                     one job: choose another. A job has the name of its binary: to continue {owner:?} after its binary \
                     was renamed, give the binary this name in Cargo.toml ([[bin]] name = {owner:?})"
                ),
            ));
        }
        let candidate = Self { storage, observed, job_name: job_name.to_owned(), is_again_wanted };
        Ok(match candidate.ended(candidate.observed.record()) {
            Some(terminal) => Observation::Ended(terminal),
            None => Observation::Open(Box::new(candidate)),
        })
    }

    /// The end of the job, if it has ended and is not to be run again.
    fn ended(&self, record: Option<&JobRecord>) -> Option<TerminalRecord> {
        record?.terminal.clone().filter(|_| !self.is_again_wanted)
    }

    /// The checkpoint that the job would go on from, its files found to be there. `None`: it would begin from nothing.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when there are checkpoints and none can be read.
    pub(crate) async fn newest_checkpoint(&self) -> Result<Option<Manifest>> {
        let mut entries = self.checkpoints().await?;
        for _ in 0..LOOKS_MAX {
            let mut unreadable = Vec::new();
            for entry in entries.iter().rev() {
                match self.load(entry).await {
                    Ok(manifest) => return Ok(Some(manifest)),
                    Err(error) if error.kind() == ErrorKind::State => unreadable.push(error.to_string()),
                    Err(error) => return Err(error),
                }
            }
            let now = self.checkpoints().await?;
            if now == entries && !entries.is_empty() {
                return Err(nothing_to_restore(&unreadable).into());
            }
            if now == entries {
                return Ok(None);
            }
            // The present leader has completed others and deleted these.
            entries = now;
        }
        Err(Error::transient("the present leader deletes checkpoints faster than they can be read"))
    }

    async fn checkpoints(&self) -> Result<Vec<CheckpointEntry>> {
        let record = Journal::read(&self.storage).await?.unwrap_or_default();
        let begins_anew = self.is_again_wanted && record.terminal.is_some();
        Ok(if begins_anew { Vec::new() } else { record.checkpoints })
    }

    async fn load(&self, entry: &CheckpointEntry) -> Result<Manifest> {
        let manifest = self.storage.read_manifest(entry).await?;
        self.storage.verify(&manifest).await?;
        Ok(manifest)
    }

    /// Takes over from the leader that was observed. `new_run` names a run that begins from nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`] when another JobManager has taken over since. Otherwise when the storage fails.
    pub(crate) async fn lead(self, leader: Leader, new_run: &str) -> Result<Led> {
        let change = |record: &mut JobRecord| self.take_over(record, new_run);
        let journal = match Journal::lead(self.storage.clone(), &self.observed, leader, change).await {
            Ok(journal) => journal,
            Err(AppendError::Conflict(reign)) => {
                let found = Journal::read(&self.storage).await?;
                return match self.ended(found.as_ref()) {
                    Some(terminal) => Ok(Led::Ended(terminal)),
                    None => Err(AppendError::Conflict(reign).into()),
                };
            }
            Err(error) => return Err(error.into()),
        };
        let record = Box::new(journal.record().clone());
        let kept: BTreeSet<&str> = record.checkpoints.iter().map(|entry| entry.directory.as_str()).collect();
        // The leader before this one is deposed by now, so that nothing may keep this one from its work.
        if let Err(error) = self.storage.discard_leftovers(&kept).await {
            tracing::warn!(%error, "files of checkpoints that are not kept cannot be deleted");
        }
        Ok(Led::Leading { store: CheckpointStore::new(self.storage, journal), record })
    }

    fn take_over(&self, record: &mut JobRecord, new_run: &str) {
        if self.is_again_wanted && record.terminal.is_some() {
            // Transactions that may be open stay known, and ids go on: nothing of the old run is mistaken
            // for the new one's.
            record.checkpoints.clear();
            record.initial_splits.clear();
            record.terminal = None;
            record.is_repeat = true;
            record.run.clear();
        }
        if record.run.is_empty() {
            new_run.clone_into(&mut record.run);
        }
        self.job_name.clone_into(&mut record.job_name);
    }
}
