use std::{fs, path::Path, time::Duration};

use flott_cluster::{ClusterSettings, OutcomeStatus, StopSignal};
use flott_core::ErrorKind;
use flott_state::storage::{CheckpointStorage, Journal};
use tempfile::TempDir;

use crate::kit::{JobManagerThread, Params, TaskManagerThread, assert_exact, assert_finished, in_directory};

#[test]
fn a_job_manager_that_ends_is_followed_by_another_on_its_address() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 30_000, 15_000.0);
    let settings = ClusterSettings { parallelism: 2, ..in_directory(directory.path()) };
    let first = JobManagerThread::start(settings.clone(), &params);
    let address = first.address.clone();
    let member = TaskManagerThread::start(&address, 2);
    first.lines.wait_for("checkpoint 2 complete");
    first.stop.blocking_send(StopSignal::Terminate).unwrap();
    let outcome = first.end();
    assert_eq!(outcome.status, OutcomeStatus::Suspended, "{:?}", outcome.error);
    assert_eq!(outcome.signal.map(StopSignal::exit_code), Some(143));

    let second = JobManagerThread::start(ClusterSettings { listen: address, ..settings }, &params);
    second.lines.wait_for("deploying attempt 1 from checkpoint");
    assert_finished(&second.end());
    assert_eq!(member.end().exit_code(), 0);
    assert_exact(&params);
}

#[test]
fn a_second_job_manager_on_the_directory_deposes_the_first() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 30_000, 15_000.0);
    let first = JobManagerThread::start(in_directory(directory.path()), &params);
    let _member = TaskManagerThread::start(&first.address, 1);
    first.lines.wait_for("checkpoint 2 complete");
    let second = JobManagerThread::start(in_directory(directory.path()), &params);
    let outcome = first.end();
    assert_eq!(outcome.status, OutcomeStatus::Failed);
    assert_eq!(outcome.error.unwrap().kind(), ErrorKind::Incompatible);
    let member = TaskManagerThread::start(&second.address, 1);
    assert_finished(&second.end());
    assert_eq!(member.end().exit_code(), 0);
    assert_exact(&params);
}

#[test]
fn a_job_manager_that_was_replaced_settles_nothing() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 30_000, 5_000.0);
    let never = Duration::from_secs(3600);
    let settings = ClusterSettings {
        checkpoint_interval: never,
        slot_timeout: Duration::from_secs(10),
        ..in_directory(directory.path())
    };
    let url = settings.checkpoint_dir.clone();
    let first = JobManagerThread::start(settings, &params);
    let member = TaskManagerThread::start(&first.address, 1);
    first.lines.wait_for("deploying attempt 1");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let taking_over = async { Journal::lead(CheckpointStorage::open(&url).await.unwrap(), |_| {}).await };
    let _successor = runtime.block_on(taking_over).unwrap();
    let unfinished = params.output.join("out/.pending-0-0-0");
    fs::write(&unfinished, "").unwrap();

    // The TaskManager goes in good order, so that nothing needs a new generation and settling is all there is to do.
    member.stop.blocking_send(StopSignal::Terminate).unwrap();
    assert_eq!(member.end().exit_code(), 143);
    let error = first.end().error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    assert!(unfinished.exists());
}

/// Runs a job for some checkpoints and stops it without a last one.
fn interrupted(directory: &Path, params: &Params) {
    let settings = ClusterSettings { retained_checkpoints: 3, ..in_directory(directory) };
    let jobmanager = JobManagerThread::start(settings, params);
    let _member = TaskManagerThread::start(&jobmanager.address, 1);
    jobmanager.lines.wait_for("checkpoint 4 complete");
    jobmanager.stop.blocking_send(StopSignal::Terminate).unwrap();
    assert_eq!(jobmanager.end().status, OutcomeStatus::Suspended);
}

/// The snapshot files of the newest checkpoint.
fn newest_snapshots(directory: &Path) -> Vec<std::path::PathBuf> {
    let checkpoints = fs::read_dir(directory.join("checkpoints/checkpoints")).unwrap();
    let newest = checkpoints.map(|entry| entry.unwrap().path()).max().unwrap();
    let files = fs::read_dir(newest).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "snap")).collect()
}

fn resume(
    directory: &Path,
    params: &Params,
    allow_repeated_output: bool,
) -> (JobManagerThread, TaskManagerThread) {
    let settings =
        ClusterSettings { retained_checkpoints: 3, allow_repeated_output, ..in_directory(directory) };
    let jobmanager = JobManagerThread::start(settings, params);
    let member = TaskManagerThread::start(&jobmanager.address, 1);
    (jobmanager, member)
}

#[test]
fn a_truncated_snapshot_is_noticed_and_repeats_are_refused_unless_allowed() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 60_000, 30_000.0);
    interrupted(directory.path(), &params);
    for file in newest_snapshots(directory.path()) {
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    }
    let (jobmanager, _member) = resume(directory.path(), &params, false);
    jobmanager.lines.wait_for("cannot be read");
    let outcome = jobmanager.end();
    assert_eq!(outcome.status, OutcomeStatus::Failed);
    let error = outcome.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::State);
    assert!(error.to_string().contains("written again"), "{error}");

    let (jobmanager, _member) = resume(directory.path(), &params, true);
    jobmanager.lines.wait_for("cannot be read");
    jobmanager.lines.wait_for("from checkpoint");
    assert_finished(&jobmanager.end());
}

#[test]
fn a_snapshot_with_a_flipped_bit_is_found_when_it_is_read() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 60_000, 30_000.0);
    interrupted(directory.path(), &params);
    for file in newest_snapshots(directory.path()) {
        let mut bytes = fs::read(&file).unwrap();
        bytes[40] ^= 1;
        fs::write(&file, bytes).unwrap();
    }
    let (jobmanager, _member) = resume(directory.path(), &params, true);
    jobmanager.lines.wait_for("cannot be read");
    assert_finished(&jobmanager.end());
}
