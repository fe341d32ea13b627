//! Makes sure that this TaskManager's checkpoint directory is the JobManager's: what is written here must be found there,
//! and by the TaskManager that takes over.

use std::time::Duration;

use flott_core::{Clock, Error, ErrorKind, LeaderEpoch, Result, hash};
use flott_state::storage::{CheckpointStorage, JobRecord, Journal};
use tokio::time::sleep;

use crate::rpc::message::Welcome;

/// Time for a file system over the network to show what the JobManager has written.
const VISIBLE_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Waits until the journal entry that the JobManager has named, or a later one, is seen in `storage`. It is read by name: a
/// listing may be as old as what a file system over the network caches.
///
/// # Errors
/// [`ErrorKind::Settings`] when it is not: the directory is another one.
pub(super) async fn find_leader(
    storage: &CheckpointStorage,
    welcome: &Welcome,
    jobmanager: &str,
    clock: &dyn Clock,
) -> Result<()> {
    let since = clock.now();
    loop {
        let seen = Journal::read_from(storage, welcome.journal_entry).await;
        if matches!(&seen, Ok(record) if is_led(record.as_ref(), welcome.cluster, welcome.epoch)) {
            return Ok(());
        }
        if clock.now().since(since) > VISIBLE_TIMEOUT {
            seen?;
            let seen = Journal::read(storage).await?;
            return Err(Error::new(
                ErrorKind::Settings,
                refusal(seen.as_ref(), storage, welcome, jobmanager),
            ));
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// Whether a journal is that of a cluster which an epoch's JobManager leads, or led before another took over.
fn is_led(newest: Option<&JobRecord>, cluster: u64, epoch: LeaderEpoch) -> bool {
    newest.is_some_and(|record| hash::bytes(record.run.as_bytes()) == cluster && record.epoch >= epoch)
}

fn refusal(
    seen: Option<&JobRecord>,
    storage: &CheckpointStorage,
    welcome: &Welcome,
    jobmanager: &str,
) -> String {
    let there = match seen {
        None => "nothing of the job's journal".to_owned(),
        Some(record) => format!("the journal of job {:?} in epoch {}", record.job_name, record.epoch),
    };
    format!(
        "the JobManager of job {:?} at {jobmanager} keeps its checkpoints in {}; this TaskManager, with the same \
         checkpoint_dir, has {} and sees {there} there, not epoch {}: the two are different directories. All processes \
         of a job need one: mount a shared directory at the same path on every host and name it by its full path with \
         `--checkpoint-dir`",
        welcome.job_name,
        welcome.checkpoint_place,
        storage.place(),
        welcome.epoch
    )
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use flott_core::SystemClock;
    use flott_state::storage::{Leader, Observed};

    use super::*;

    fn record(run: &str, epoch: u64) -> JobRecord {
        JobRecord { run: run.into(), epoch: LeaderEpoch(epoch), job_name: "sum".into(), ..Default::default() }
    }

    #[test]
    fn only_the_leaders_own_directory_will_do() {
        let cluster = hash::bytes(b"run-1");
        let is_led = |newest: Option<JobRecord>| is_led(newest.as_ref(), cluster, LeaderEpoch(3));
        assert!(!is_led(None), "an empty one");
        assert!(!is_led(Some(record("run-2", 3))), "of another run");
        assert!(!is_led(Some(record("run-1", 2))), "a copy from before");
        assert!(is_led(Some(record("run-1", 3))));
        assert!(is_led(Some(record("run-1", 4))), "another JobManager has just taken over");
    }

    fn welcome(journal_entry: u64) -> Welcome {
        Welcome {
            epoch: LeaderEpoch(3),
            cluster: hash::bytes(b"run-1"),
            job_name: "sum".into(),
            parameters: String::new(),
            settings: String::new(),
            checkpoint_place: "/var/lib/sum".into(),
            journal_entry,
            fingerprint: 0,
            graph: String::new(),
        }
    }

    #[tokio::test]
    async fn a_directory_is_recognised_without_a_listing() {
        let directory = tempfile::TempDir::new().unwrap();
        let storage = CheckpointStorage::open(directory.path().to_str().unwrap()).await.unwrap();
        let name_run = |led: &mut JobRecord| led.clone_from(&record("run-1", 3));
        let nobody = Observed::default();
        let journal = Journal::lead(storage.clone(), &nobody, Leader::default(), name_run).await.unwrap();
        let newest = journal.newest();
        // A name that is no path makes the store refuse to list the journal, though entries can be read.
        std::fs::write(directory.path().join("journal").join(OsStr::from_bytes(b"\xff")), "").unwrap();
        Journal::read(&storage).await.unwrap_err();
        find_leader(&storage, &welcome(newest), "host:6123", &SystemClock).await.unwrap();
    }

    #[tokio::test]
    async fn a_refusal_names_both_directories_and_what_to_do() {
        let directory = tempfile::TempDir::new().unwrap();
        let storage = CheckpointStorage::open(directory.path().to_str().unwrap()).await.unwrap();
        let welcome = welcome(1);
        let text = refusal(None, &storage, &welcome, "host:6123");
        let own = directory.path().canonicalize().unwrap().display().to_string();
        for part in
            ["host:6123", "/var/lib/sum", &own, "nothing of the job's journal", "mount a shared directory"]
        {
            assert!(text.contains(part), "{text}");
        }
        let text = refusal(Some(&record("run-2", 2)), &storage, &welcome, "host:6123");
        assert!(text.contains("the journal of job \"sum\" in epoch 2 there, not epoch 3"), "{text}");
    }
}
