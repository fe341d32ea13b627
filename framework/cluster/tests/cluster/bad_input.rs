use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use flott_cluster::{ClusterSettings, OutcomeStatus};
use tempfile::TempDir;

use crate::kit::{JobManagerThread, Params, TaskManagerThread, assert_exact, assert_finished, in_directory};

#[test]
fn garbage_on_the_port_costs_its_sender_the_connection_and_nobody_else() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 10_000, 10_000.0);
    let jobmanager = JobManagerThread::start(in_directory(directory.path()), &params);
    let preamble = b"FLTC\x01\x00";
    let oversized = [&preamble[..], &u32::MAX.to_le_bytes()].concat();
    let nonsense = [&preamble[..], &[4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]].concat();
    for garbage in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0xff; 100_000], oversized, nonsense] {
        let mut stream = TcpStream::connect(&jobmanager.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // The connection may be closed before all is written.
        let _ = stream.write_all(&garbage);
        match stream.read(&mut [0; 1]) {
            Ok(read) => assert_eq!(read, 0, "nothing is answered"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    let member = TaskManagerThread::start(&jobmanager.address, 1);
    assert_finished(&jobmanager.end());
    assert_eq!(member.end().exit_code(), 0);
    assert_exact(&params);
}

#[test]
fn a_task_manager_of_another_build_is_refused() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 1_000, 0.0);
    let jobmanager = JobManagerThread::start(in_directory(directory.path()), &params);
    let other = TaskManagerThread::start_as(&jobmanager.address, 1, "another").end();
    assert_eq!(other.exit_code(), 5, "{other:?}");
    assert!(format!("{other:?}").contains("its log says why"), "{other:?}");
    assert!(!format!("{other:?}").contains("test"), "it has learnt the right build: {other:?}");
    let member = TaskManagerThread::start(&jobmanager.address, 1);
    assert_finished(&jobmanager.end());
    assert_eq!(member.end().exit_code(), 0);
}

#[test]
fn a_task_manager_that_declares_another_plan_says_where_it_differs() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 1_000, 0.0);
    let jobmanager = JobManagerThread::start(in_directory(directory.path()), &params);
    let other = TaskManagerThread::start_with_another_plan(&jobmanager.address).end();
    assert_eq!(other.exit_code(), 5, "{other:?}");
    assert!(format!("{other:?}").contains("exists on one side only"), "{other:?}");
    let member = TaskManagerThread::start(&jobmanager.address, 1);
    assert_finished(&jobmanager.end());
    assert_eq!(member.end().exit_code(), 0);
}

#[test]
fn a_checkpoint_directory_that_is_a_file_is_a_settings_error() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let settings =
        ClusterSettings { checkpoint_dir: file.join("x").display().to_string(), ..in_directory(&file) };
    let params = Params::new(directory.path(), 1_000, 0.0);
    let outcome = JobManagerThread::start(settings, &params).end();
    assert_eq!(outcome.status, OutcomeStatus::Failed);
    assert_eq!(outcome.error.unwrap().kind(), flott_core::ErrorKind::Settings);
}

#[test]
fn a_directory_of_another_job_is_refused() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 1_000, 0.0);
    let first = JobManagerThread::start(in_directory(directory.path()), &params);
    let member = TaskManagerThread::start(&first.address, 1);
    assert_finished(&first.end());
    drop(member.end());
    let (_stop, mut launch) = crate::kit::launch(in_directory(directory.path()), &params);
    launch.job_name = "another".into();
    let outcome = flott_cluster::run_local(launch, std::sync::Arc::new(flott_cluster::Silent));
    let error = outcome.error.unwrap();
    assert_eq!(error.kind(), flott_core::ErrorKind::Settings);
    assert!(error.to_string().contains("belongs to job \"counting\""), "{error}");
}

#[test]
fn too_few_slots_end_the_job_with_advice() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 1_000, 0.0);
    let settings = ClusterSettings {
        parallelism: 2,
        slot_timeout: Duration::from_millis(500),
        ..in_directory(directory.path())
    };
    let jobmanager = JobManagerThread::start(settings, &params);
    let member = TaskManagerThread::start(&jobmanager.address, 1);
    let error = jobmanager.end().error.unwrap();
    assert!(error.to_string().contains("needs 2 slots"), "{error}");
    assert_eq!(member.end().exit_code(), 6, "as the JobManager's");
}
