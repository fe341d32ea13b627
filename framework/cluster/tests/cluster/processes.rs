use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use flott_cluster::{
    ClusterSettings, OutcomeStatus, Silent, StopSignal, TaskManagerOutcome, run_jobmanager, run_taskmanager,
};
use tempfile::TempDir;

use crate::kit::{
    JobManagerThread, Params, TaskManagerThread, Told, assert_exact, assert_finished, in_directory, launch,
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

/// Without a word about it, TaskManagers find each other where they reach the JobManager.
#[test]
fn a_cluster_need_not_be_at_127_0_0_1() {
    if TcpListener::bind("[::1]:0").is_err() {
        // Not by `println!`, which nobody sees of a test that passes.
        std::io::stdout().write_all(b"not tested: this machine has no second loopback address\n").unwrap();
        return;
    }
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 20_000, 0.0);
    let settings =
        ClusterSettings { parallelism: 2, listen: "[::1]:0".into(), ..in_directory(directory.path()) };
    let jobmanager = JobManagerThread::start(settings, &params);
    let members = [1, 1].map(|slots| TaskManagerThread::start(&jobmanager.address, slots));
    let line = jobmanager.lines.wait_for("TaskManager 1 joined");
    assert!(line.contains("exchange at [::1]:"), "{line}");
    let outcome = jobmanager.end();
    assert_finished(&outcome);
    assert_eq!(outcome.summary.restarts, 0);
    for member in members {
        assert_eq!(member.end().exit_code(), 0);
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

#[test]
fn a_task_manager_that_is_asked_to_end_while_its_job_manager_goes_waits_for_no_other() {
    let directory = TempDir::new().unwrap();
    let reached = directory.path().join("reached");
    let mut params = Params::new(directory.path(), 1_000, 0.0);
    params.hang_at = Some((500, reached.clone()));
    let jobmanager = JobManagerThread::start(in_directory(directory.path()), &params);
    let member = TaskManagerThread::start(&jobmanager.address, 1);
    while !reached.exists() {
        thread::park_timeout(Duration::from_millis(10));
    }
    for _ in 0..3 {
        jobmanager.stop.blocking_send(StopSignal::Terminate).unwrap();
    }
    assert_eq!(jobmanager.end().status, OutcomeStatus::Suspended);
    // Its tasks hang, so that it cannot leave before it is asked.
    for _ in 0..2 {
        member.stop.blocking_send(StopSignal::Terminate).unwrap();
    }
    let outcome = member.end();
    assert!(matches!(outcome, TaskManagerOutcome::Signalled(StopSignal::Terminate)), "{outcome:?}");
}

const JOBMANAGER: &str = "FLOTT_TEST_JOBMANAGER";

/// The secret file of that TaskManager, if it has one.
const SECRET: &str = "FLOTT_TEST_SECRET";

/// The TaskManager that other tests start as a process; nothing where its variable is not set.
#[test]
fn task_manager_process() {
    let Ok(jobmanager) = std::env::var(JOBMANAGER) else { return };
    let secret_file = std::env::var(SECRET).unwrap_or_default();
    let settings = ClusterSettings { jobmanager, secret_file, ..settings() };
    let (_stop, launch) = launch(settings, &Params::new(Path::new("unused"), 0, 0.0));
    let outcome = run_taskmanager(launch, Arc::new(Silent));
    std::process::exit(outcome.exit_code().into());
}

const DIRECTORY: &str = "FLOTT_TEST_DIRECTORY";

/// Checkpoint directory of that JobManager, where it is not the usual one.
const CHECKPOINTS: &str = "FLOTT_TEST_CHECKPOINTS";

/// The JobManager that other tests start as a process; nothing where its variables are not set.
#[test]
fn job_manager_process() {
    let (Ok(listen), Ok(directory)) = (std::env::var(JOBMANAGER), std::env::var(DIRECTORY)) else { return };
    let directory = Path::new(&directory);
    let mut settings = ClusterSettings { listen, parallelism: 2, ..in_directory(directory) };
    if let Ok(checkpoint_dir) = std::env::var(CHECKPOINTS) {
        settings.checkpoint_dir = checkpoint_dir;
    }
    let (_stop, launch) = launch(settings, &Params::new(directory, RECORDS, RATE));
    let outcome = run_jobmanager(launch, Told::new().0);
    assert_finished(&outcome);
    std::process::exit(0);
}

pub(crate) const RECORDS: u64 = 60_000;
pub(crate) const RATE: f64 = 20_000.0;

pub(crate) struct Process(Child);

impl Process {
    fn start(jobmanager: &str) -> Self {
        Self::start_in(Path::new("."), jobmanager)
    }

    pub(crate) fn start_with_secret(jobmanager: &str, secret_file: &Path) -> Self {
        let variables = [(JOBMANAGER, jobmanager), (SECRET, secret_file.to_str().unwrap())];
        Self::run("processes::task_manager_process", &variables, Path::new("."))
    }

    fn start_in(directory: &Path, jobmanager: &str) -> Self {
        Self::run("processes::task_manager_process", &[(JOBMANAGER, jobmanager)], directory)
    }

    fn start_job_manager(listen: &str, directory: &str) -> Self {
        let variables = [(JOBMANAGER, listen), (DIRECTORY, directory)];
        Self::run("processes::job_manager_process", &variables, Path::new("."))
    }

    fn run(test: &str, variables: &[(&str, &str)], directory: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).current_dir(directory);
        command.envs(variables.iter().copied()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn exit_code(mut self) -> Option<i32> {
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
    let params = Params::new(directory.path(), RECORDS, RATE);
    let settings = ClusterSettings { parallelism: 2, ..in_directory(directory.path()) };
    let jobmanager = JobManagerThread::start(settings, &params);
    let first = Process::start(&jobmanager.address);
    jobmanager.lines.wait_for("TaskManager 1 joined");
    let others = [0, 1].map(|_| Process::start(&jobmanager.address));
    jobmanager.lines.wait_for("checkpoint 3 complete");
    first.signal(signal);
    let line = jobmanager.lines.wait_for("TaskManager 1 was lost");
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

/// Waits until the job has so many completed checkpoints on disk.
fn await_checkpoint(directory: &Path, number: usize) {
    let checkpoints = directory.join("checkpoints/checkpoints");
    let reached = |name: String| name[4..24].parse::<usize>().is_ok_and(|checkpoint| checkpoint > number);
    for _ in 0..3_000 {
        let names = fs::read_dir(&checkpoints).into_iter().flatten();
        if names.flatten().any(|entry| reached(entry.file_name().into_string().unwrap())) {
            return;
        }
        thread::park_timeout(Duration::from_millis(10));
    }
    panic!("no checkpoint {number} within 30 s");
}

#[test]
fn a_killed_job_manager_is_followed_by_another_that_goes_on() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), RECORDS, RATE);
    // A port that was free a moment ago.
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let path = directory.path().to_str().unwrap();
    let first = Process::start_job_manager(&listen, path);
    let members = [0, 1].map(|_| Process::start(&listen));
    await_checkpoint(directory.path(), 3);
    first.signal("-KILL");
    drop(first);
    let second = Process::start_job_manager(&listen, path);
    assert_eq!(second.exit_code(), Some(0));
    for member in members {
        assert_eq!(member.exit_code(), Some(0));
    }
    assert_exact(&params);
}

/// The same `checkpoint_dir`, but not the same directory: as on two hosts that share none.
#[test]
fn a_task_manager_that_does_not_see_the_checkpoints_is_refused() {
    let directory = TempDir::new().unwrap();
    let elsewhere = TempDir::new().unwrap();
    let params = Params::new(directory.path(), RECORDS, RATE);
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let path = directory.path().to_str().unwrap();
    let variables = [(JOBMANAGER, listen.as_str()), (DIRECTORY, path), (CHECKPOINTS, "checkpoints")];
    let jobmanager = Process::run("processes::job_manager_process", &variables, directory.path());
    let stranger = Process::start_in(elsewhere.path(), &listen);
    assert_eq!(stranger.exit_code(), Some(3));
    let members = [0, 1].map(|_| Process::start_in(directory.path(), &listen));
    assert_eq!(jobmanager.exit_code(), Some(0));
    for member in members {
        assert_eq!(member.exit_code(), Some(0));
    }
    assert_exact(&params);
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

#[test]
fn a_task_manager_waits_for_a_job_manager_as_long_as_the_last_one_has_said() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), RECORDS, RATE);
    let jobmanager_timeout = Duration::from_millis(300);
    let settings = ClusterSettings { jobmanager_timeout, ..in_directory(directory.path()) };
    let jobmanager = JobManagerThread::start(settings, &params);
    let member = TaskManagerThread::start(&jobmanager.address, 1);
    jobmanager.lines.wait_for("deploying attempt 1");
    jobmanager.stop.blocking_send(StopSignal::Terminate).unwrap();
    assert_eq!(jobmanager.end().status, OutcomeStatus::Suspended);
    let TaskManagerOutcome::Failed(error) = member.end() else { panic!("there was no JobManager any more") };
    assert!(error.to_string().contains("within 300ms"), "{error}");
}
