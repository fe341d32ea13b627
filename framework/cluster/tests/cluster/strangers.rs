//! Peers that belong to no cluster, on the JobManager's port.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use flott_cluster::{
    ClusterSettings, Silent, StopSignal, TaskManagerOutcome, run_jobmanager, run_taskmanager,
};
use flott_core::ErrorKind;
use tempfile::TempDir;

use crate::kit::{
    JobManagerThread, Params, TaskManagerThread, assert_exact, assert_finished, in_directory, launch,
    settings,
};

/// The answer of the port to a `Hello` with this build id, until it closes the connection.
fn answer_to(address: &str, build_id: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut hello = vec![u8::try_from(build_id.len()).unwrap()];
    hello.extend(build_id.bytes());
    // One slot, exchange port 1.
    hello.extend([1, 1]);
    let mut bytes = b"FLTC\x01\x00".to_vec();
    bytes.extend(u32::try_from(hello.len()).unwrap().to_le_bytes());
    bytes.extend(hello);
    stream.write_all(&bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn a_stranger_learns_that_it_is_refused_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 1_000, 0.0);
    let jobmanager = JobManagerThread::start(in_directory(directory.path()), &params);
    for build_id in ["x", "tes", "test\n", &"y".repeat(100)] {
        assert_eq!(answer_to(&jobmanager.address, build_id), [1, 0, 0, 0, 1], "{build_id:?}");
    }
    let member = TaskManagerThread::start(&jobmanager.address, 1);
    assert_finished(&jobmanager.end());
    assert_eq!(member.end().exit_code(), 0);
}

#[test]
fn strangers_that_take_their_time_keep_a_task_manager_waiting_and_not_out() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 1_000, 0.0);
    let jobmanager = JobManagerThread::start(in_directory(directory.path()), &params);
    let before = fs::read_dir("/proc/self/fd").unwrap().count();
    let mut strangers = Vec::new();
    for _ in 0..1_000 {
        let mut stranger = TcpStream::connect(&jobmanager.address).unwrap();
        stranger.write_all(b"F").unwrap();
        strangers.push(stranger);
    }
    let open = fs::read_dir("/proc/self/fd").unwrap().count();
    // Each has one end here; the JobManager, in this process as well, has taken 256 of them at most.
    assert!(open < before + 1_000 + 256 + 200, "{before} descriptors, then {open}");
    let member = TaskManagerThread::start(&jobmanager.address, 1);
    assert_finished(&jobmanager.end());
    assert_eq!(member.end().exit_code(), 0);
    assert_exact(&params);
}

#[test]
fn an_address_that_others_can_reach_needs_a_secret() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 1, 0.0);
    let open = |settings| ClusterSettings { listen: "0.0.0.0:0".into(), ..settings };
    let (_stop, jobmanager) = launch(open(in_directory(directory.path())), &params);
    let error = run_jobmanager(jobmanager, Arc::new(Silent)).error.unwrap();
    let settings = ClusterSettings { jobmanager: "127.0.0.1:1".into(), ..settings() };
    let (_stop, taskmanager) = launch(open(settings), &params);
    let outcome = run_taskmanager(taskmanager, Arc::new(Silent));
    let TaskManagerOutcome::Failed(of_taskmanager) = outcome else { panic!("{outcome:?}") };
    for error in [error, of_taskmanager] {
        assert_eq!(error.kind(), ErrorKind::Settings, "exit code 3");
        let text = error.to_string();
        assert!(text.contains("--secret-file") && text.contains("--insecure"), "{text}");
    }
    assert!(!directory.path().join("checkpoints").exists(), "it was refused before it led");
}

#[test]
fn an_insecure_cluster_says_so() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 1_000, 0.0);
    let settings =
        ClusterSettings { listen: "0.0.0.0:0".into(), insecure: true, ..in_directory(directory.path()) };
    let (_stop, launch) = launch(settings, &params);
    let (told, lines) = crate::kit::Told::new();
    let jobmanager = thread::spawn(move || run_jobmanager(launch, told));
    let warning = lines.wait_for("insecure");
    assert!(warning.contains("passwords included"), "{warning}");
    let address = lines.wait_for("listens on ").rsplit(' ').next().unwrap().replace("0.0.0.0", "127.0.0.1");
    let member = TaskManagerThread::start(&address, 1);
    assert_finished(&jobmanager.join().unwrap());
    assert_eq!(member.end().exit_code(), 0);
}

/// It waits for the JobManager's files, which are not in its own directory.
#[test]
fn a_task_manager_that_is_stopped_while_it_joins_ends_without_a_panic() {
    static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let other = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string());
        other(panic);
    }));
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 1_000, 0.0);
    let jobmanager = JobManagerThread::start(in_directory(directory.path()), &params);
    let elsewhere = directory.path().join("elsewhere");
    let (joins, has_joined) = std::sync::mpsc::channel();
    let moved = elsewhere.clone();
    let member = TaskManagerThread::start_changed(&jobmanager.address, 1, |launch| {
        let build = Arc::clone(&launch.build_program);
        launch.build_program = Arc::new(move |parameters, settings| {
            // This TaskManager finds an empty directory in place of the JobManager's.
            let checkpoints = settings.checkpoint_dir.strip_prefix("file://").unwrap();
            fs::rename(checkpoints, &moved).unwrap();
            fs::create_dir(checkpoints).unwrap();
            joins.send(()).unwrap();
            build(parameters, settings)
        });
    });
    has_joined.recv_timeout(Duration::from_secs(30)).unwrap();
    thread::park_timeout(Duration::from_millis(500));
    member.stop.blocking_send(StopSignal::Terminate).unwrap();
    let outcome = member.end();
    assert!(matches!(outcome, TaskManagerOutcome::Signalled(StopSignal::Terminate)), "{outcome:?}");
    // Threads that it has left behind look at the directory again soon.
    thread::park_timeout(Duration::from_secs(1));
    let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
    assert!(!panics.contains("Tokio"), "{panics}");
    for _ in 0..3 {
        let _ = jobmanager.stop.blocking_send(StopSignal::Terminate);
    }
    drop(jobmanager.end());
}
