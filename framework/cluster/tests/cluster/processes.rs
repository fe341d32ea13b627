use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use flott_cluster::{ClusterSettings, Silent, StopSignal, TaskManagerOutcome, run_taskmanager};
use tempfile::TempDir;

use crate::kit::{
    JobManagerThread, Params, TaskManagerThread, assert_exact, assert_finished, in_directory, launch,
    settings,
};

#[test]
fn a_cluster_finishes_and_everybody_leaves() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 20_000, 0.0);
    let settings = ClusterSettings { parallelism: 2, ..in_directory(directory.path()) };
    let jobmanager = JobManagerThread::start(settings, &params);
    let members = [1, 1].map(|slots| TaskManagerThread::start(&jobmanager.address, slots));
    assert_finished(&jobmanager.end());
    for member in members {
        let outcome = member.end();
        assert!(matches!(outcome, TaskManagerOutcome::JobOver(None)), "{outcome:?}");
        assert_eq!(outcome.exit_code(), 0);
    }
    assert_exact(&params);
}

#[test]
fn a_task_manager_that_leaves_hands_its_tasks_over() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 30_000, 15_000.0);
    let settings = ClusterSettings { parallelism: 2, ..in_directory(directory.path()) };
    let jobmanager = JobManagerThread::start(settings, &params);
    let leaving = TaskManagerThread::start(&jobmanager.address, 1);
    jobmanager.lines.wait_for("TaskManager 1 joined");
    let others = [1, 1].map(|slots| TaskManagerThread::start(&jobmanager.address, slots));
    jobmanager.lines.wait_for("checkpoint 2 complete");
    leaving.stop.blocking_send(StopSignal::Terminate).unwrap();
    let outcome = leaving.end();
    assert!(matches!(outcome, TaskManagerOutcome::Signalled(StopSignal::Terminate)), "{outcome:?}");
    assert_eq!(outcome.exit_code(), 143);
    assert_finished(&jobmanager.end());
    others.into_iter().for_each(|member| drop(member.end()));
    assert_exact(&params);
}

const JOBMANAGER: &str = "FLOTT_TEST_JOBMANAGER";

/// Not a test: the TaskManager that other tests start as a process.
#[test]
#[ignore = "run by other tests, as a process"]
fn task_manager_process() {
    let Ok(jobmanager) = std::env::var(JOBMANAGER) else { return };
    let settings = ClusterSettings { jobmanager, ..settings() };
    let (_stop, launch) = launch(settings, &Params::new(Path::new("unused"), 0, 0.0));
    let outcome = run_taskmanager(launch, Arc::new(Silent));
    std::process::exit(outcome.exit_code().into());
}

struct Process(Child);

impl Process {
    fn start(jobmanager: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "processes::task_manager_process", "--ignored", "--nocapture"]);
        command.env(JOBMANAGER, jobmanager).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn exit_code(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn storm(signal: &str, expected: &str) {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 60_000, 20_000.0);
    let settings = ClusterSettings { parallelism: 2, ..in_directory(directory.path()) };
    let jobmanager = JobManagerThread::start(settings, &params);
    let first = Process::start(&jobmanager.address);
    jobmanager.lines.wait_for("TaskManager 1 joined");
    let others = [0, 1].map(|_| Process::start(&jobmanager.address));
    jobmanager.lines.wait_for("checkpoint 3 complete");
    first.signal(signal);
    let line = jobmanager.lines.wait_for("TaskManager 1 lost");
    assert!(line.contains(expected), "{line}");
    jobmanager.lines.wait_for("deploying attempt 2 from checkpoint");
    if signal == "-STOP" {
        jobmanager.lines.wait_for(" complete in");
        first.signal("-CONT");
        // It runs nothing of its old life, and offers its slot anew.
        jobmanager.lines.wait_for("TaskManager 4 joined");
    }
    let outcome = jobmanager.end();
    assert_finished(&outcome);
    assert_eq!(outcome.summary.restarts, 1);
    for other in others {
        assert_eq!(other.exit_code(), Some(0));
    }
    assert_exact(&params);
}

#[test]
fn a_killed_task_manager_is_replaced_by_the_standby() {
    storm("-KILL", "connection");
}

#[test]
fn a_frozen_task_manager_is_replaced_and_does_no_harm_when_it_wakes() {
    storm("-STOP", "no heartbeat");
}

#[test]
fn without_a_job_manager_a_task_manager_gives_up() {
    let settings = ClusterSettings {
        jobmanager: "127.0.0.1:1".into(),
        jobmanager_timeout: Duration::from_millis(300),
        ..settings()
    };
    let (_stop, launch) = launch(settings, &Params::new(Path::new("unused"), 0, 0.0));
    let outcome = run_taskmanager(launch, Arc::new(Silent));
    assert_eq!(outcome.exit_code(), 6, "{outcome:?}");
}
