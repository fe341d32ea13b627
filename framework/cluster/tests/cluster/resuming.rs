use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use flott::{Job, plumbing, prelude::*};
use flott_cluster::{BuildProgram, ClusterSettings, OutcomeStatus, StopSignal};
use flott_core::ErrorKind;
use flott_state::storage::{CheckpointStorage, Journal, Leader};
use tempfile::TempDir;

use crate::kit::{
    JobManagerThread, Params, TaskManagerThread, assert_exact, assert_finished, declare, in_directory,
};

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
    assert_deposed(&outcome.error.unwrap(), &second.address);
    let member = TaskManagerThread::start(&second.address, 1);
    assert_finished(&second.end());
    assert_eq!(member.end().exit_code(), 0);
    assert_exact(&params);
}

fn assert_deposed(error: &Error, by: &str) {
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    let (text, process) = (error.to_string(), std::process::id());
    for part in ["this JobManager was deposed", &format!("{by} (process {process} on "), "in epoch 2"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_job_manager_that_waits_for_slots_learns_that_it_was_deposed() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 1000, 1000.0);
    let settings = ClusterSettings { slot_timeout: Duration::ZERO, ..in_directory(directory.path()) };
    let first = JobManagerThread::start(settings.clone(), &params);
    first.lines.wait_for("leading in epoch 1");
    let second = JobManagerThread::start(settings, &params);
    second.lines.wait_for("leading in epoch 2");
    assert_deposed(&first.end().error.unwrap(), &second.address);
    second.stop.blocking_send(StopSignal::Terminate).unwrap();
    assert_eq!(second.end().status, OutcomeStatus::Suspended);
}

#[test]
fn a_job_manager_that_cannot_run_the_job_deposes_nobody() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), u64::MAX, 1000.0);
    let first = JobManagerThread::start(in_directory(directory.path()), &params);
    let member = TaskManagerThread::start(&first.address, 1);
    first.lines.wait_for("checkpoint 2 complete");
    let output = directory.path().join("no-directory");
    fs::write(&output, "").unwrap();
    let broken_sink = Params { output, ..params.clone() };
    let other_uid: Arc<BuildProgram> = Arc::new(|parameters, _| {
        let params: Params = serde_json::from_value(parameters.clone())?;
        let mut job = Job::new();
        let numbers = job.source("other-numbers", GenerateSource::bounded(params.records, |n| n));
        numbers.sink("out", FileSink::json_lines(params.output));
        plumbing::finish(job)
    });
    let groups: Arc<BuildProgram> = Arc::new(|parameters, _| {
        let params: Params = serde_json::from_value(parameters.clone())?;
        let mut job = Job::new();
        job.max_parallelism(128);
        declare(&mut job, &params);
        plumbing::finish(job)
    });
    let cases = [
        (&broken_sink, None, ErrorKind::Settings, "cannot write to"),
        (&params, Some(other_uid), ErrorKind::State, "which the job does not have"),
        (&params, Some(groups), ErrorKind::State, "max parallelism"),
    ];
    for (params, build_program, kind, text) in cases {
        let second = JobManagerThread::start_changed(in_directory(directory.path()), params, |launch| {
            launch.build_program = build_program.unwrap_or_else(|| Arc::clone(&launch.build_program));
        });
        let error = second.end().error.unwrap();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    let said = first.lines.rest();
    assert!(!said.iter().any(|line| line.contains("deploying attempt 2")), "{said:?}");
    first.lines.wait_for(" complete");
    first.stop.blocking_send(StopSignal::Terminate).unwrap();
    let outcome = first.end();
    assert_eq!(outcome.status, OutcomeStatus::Suspended, "{:?}", outcome.error);
    member.stop.blocking_send(StopSignal::Terminate).unwrap();
    assert_eq!(member.end().exit_code(), 143);
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
    let taking_over = async {
        let storage = CheckpointStorage::open(&url).await.unwrap();
        let observed = Journal::observe(&storage).await.unwrap();
        let successor = Leader { address: "elsewhere:6123".into(), ..Leader::default() };
        Journal::lead(storage, &observed, successor, |_| {}).await
    };
    let _successor = runtime.block_on(taking_over).unwrap();
    let unfinished = params.output.join("out/.pending-0-0-0");
    fs::write(&unfinished, "").unwrap();

    // The attempt ends, so that it is settled.
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

/// Files of the newest checkpoint.
fn newest_checkpoint(directory: &Path) -> PathBuf {
    let checkpoints = fs::read_dir(directory.join("checkpoints/checkpoints")).unwrap();
    checkpoints.map(|entry| entry.unwrap().path()).max().unwrap()
}

/// The snapshot files of the newest checkpoint.
fn newest_snapshots(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(newest_checkpoint(directory)).unwrap().map(|entry| entry.unwrap().path());
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
fn a_task_manager_waits_for_as_long_as_its_job_manager_checks_the_job() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 60_000, 30_000.0);
    interrupted(directory.path(), &params);
    // A file that cannot be read for a while.
    let manifest = newest_checkpoint(directory.path()).join("manifest.json");
    let aside = directory.path().join("manifest.json");
    fs::rename(&manifest, &aside).unwrap();
    std::os::unix::fs::symlink(&manifest, &manifest).unwrap();
    let settings = ClusterSettings { retained_checkpoints: 3, ..in_directory(directory.path()) };
    let jobmanager = JobManagerThread::start(settings, &params);
    jobmanager.lines.wait_for("not leading yet");
    let patience = Duration::from_secs(1);
    let member = TaskManagerThread::start_changed(&jobmanager.address, 1, |launch| {
        launch.settings.jobmanager_timeout = patience;
    });
    thread::park_timeout(2 * patience);
    fs::rename(&aside, &manifest).unwrap();
    assert_finished(&jobmanager.end());
    assert_eq!(member.end().exit_code(), 0);
    assert_exact(&params);
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
    jobmanager.lines.wait_for("allow_repeated_output is set");
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
