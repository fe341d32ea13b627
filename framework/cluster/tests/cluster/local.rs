use std::{sync::Arc, thread, time::Duration};

use flott_cluster::{ClusterSettings, OutcomeStatus, Silent, StopSignal, run_local};
use tempfile::TempDir;

use crate::kit::{Params, Told, assert_exact, assert_finished, in_directory, launch, settings};

#[test]
fn a_bounded_job_commits_its_last_output_and_finishes() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 20_000, 0.0);
    let (_stop, launch) = launch(ClusterSettings { parallelism: 2, ..settings() }, &params);
    let outcome = run_local(launch, Arc::new(Silent));
    assert_finished(&outcome);
    assert!(outcome.summary.checkpoints >= 1, "the final checkpoint");
    assert_exact(&params);
    let counted = outcome.summary.operators.values().map(|counters| counters.records_in).max();
    assert_eq!(counted, Some(20_000));
}

#[test]
fn a_failed_task_starts_again_from_the_checkpoint() {
    let directory = TempDir::new().unwrap();
    let mut params = Params::new(directory.path(), 20_000, 20_000.0);
    params.fail_at = Some((15_000, directory.path().join("failed")));
    let (_stop, launch) = launch(ClusterSettings { parallelism: 2, ..settings() }, &params);
    let (told, lines) = Told::new();
    let outcome = run_local(launch, told);
    assert_finished(&outcome);
    assert_eq!(outcome.summary.restarts, 1);
    let line = lines.wait_for("asked to fail");
    assert!(line.contains("restarting from checkpoint"), "{line}");
    assert_exact(&params);
}

#[test]
fn a_finished_job_says_so_and_runs_again_only_if_asked_to() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 1_000, 0.0);
    let run = |again: bool| {
        let settings = ClusterSettings { again, ..in_directory(directory.path()) };
        let (_stop, launch) = launch(settings, &params);
        run_local(launch, Arc::new(Silent))
    };
    let first = run(false);
    assert_finished(&first);
    assert!(!first.already_finished);
    let second = run(false);
    assert_finished(&second);
    assert!(second.already_finished && second.summary.operators.is_empty());
    std::fs::remove_dir_all(&params.output).unwrap();
    let third = run(true);
    assert_finished(&third);
    assert!(!third.already_finished);
    assert_exact(&params);
}

#[test]
fn ctrl_c_takes_a_checkpoint_from_which_the_job_goes_on() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 30_000, 15_000.0);
    let (stop, first) = launch(in_directory(directory.path()), &params);
    let (told, lines) = Told::new();
    let running = thread::spawn(move || run_local(first, told));
    lines.wait_for("checkpoint 2 complete");
    stop.blocking_send(StopSignal::Interrupt).unwrap();
    let outcome = running.join().unwrap();
    assert_eq!(outcome.status, OutcomeStatus::Suspended, "{:?}", outcome.error);
    assert_eq!(outcome.signal, Some(StopSignal::Interrupt));

    let (_stop, second) = launch(in_directory(directory.path()), &params);
    let (told, lines) = Told::new();
    assert_finished(&run_local(second, told));
    lines.wait_for("from checkpoint");
    assert_exact(&params);
}

#[test]
fn without_a_directory_no_state_is_kept_and_that_is_said_once() {
    let directory = TempDir::new().unwrap();
    let mut params = Params::new(directory.path(), 30_000, 15_000.0);
    params.fail_at = Some((10_000, directory.path().join("failed")));
    let (stop, first) = launch(settings(), &params);
    assert!(!first.settings.keeps_state());
    let (told, lines) = Told::new();
    let running = thread::spawn(move || run_local(first, told));
    let warning = lines.wait_for("temporary");
    assert!(warning.contains("\"out\"") && warning.contains("--checkpoint-dir"), "{warning}");
    lines.wait_for("deploying attempt 2");
    stop.blocking_send(StopSignal::Interrupt).unwrap();
    assert_eq!(running.join().unwrap().status, OutcomeStatus::Suspended);
    assert!(!lines.rest().iter().any(|line| line.contains("temporary")), "once");

    let (_stop, second) = launch(settings(), &params);
    let outcome = run_local(second, Arc::new(Silent));
    assert_eq!(outcome.status, OutcomeStatus::Failed, "as it was warned");

    let kept = TempDir::new().unwrap();
    let params = Params::new(kept.path(), 1_000, 0.0);
    let (_stop, third) = launch(in_directory(kept.path()), &params);
    assert!(third.settings.keeps_state());
    let (told, lines) = Told::new();
    assert_finished(&run_local(third, told));
    assert!(!lines.rest().iter().any(|line| line.contains("temporary")));
}

#[test]
fn user_code_that_never_returns_is_named_and_ends_the_run() {
    let directory = TempDir::new().unwrap();
    let mut params = Params::new(directory.path(), 1_000, 0.0);
    let reached = directory.path().join("reached");
    params.hang_at = Some((500, reached.clone()));
    let settings = ClusterSettings { cancel_timeout: Duration::from_secs(1), ..settings() };
    let (stop, launch) = launch(settings, &params);
    let (told, lines) = Told::new();
    let running = thread::spawn(move || run_local(launch, told));
    lines.wait_for("deploying attempt 1");
    while !reached.exists() {
        thread::park_timeout(Duration::from_millis(10));
    }
    stop.blocking_send(StopSignal::Interrupt).unwrap();
    stop.blocking_send(StopSignal::Interrupt).unwrap();
    let outcome = running.join().unwrap();
    let error = outcome.error.map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("did not stop within 1s"), "{:?} {error}", outcome.status);
}
