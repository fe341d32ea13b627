//! Clusters whose processes prove themselves.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use flott_cluster::{ClusterSettings, TaskManagerOutcome};
use flott_core::{Error, ErrorKind};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::{
    kit::{JobManagerThread, Params, TaskManagerThread, assert_exact, assert_finished, in_directory},
    processes::{Process, RATE, RECORDS},
};

fn write_secret(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("secret");
    let new = directory.join("secret.new");
    fs::write(&new, format!("{text}, which is long enough to be a secret")).unwrap();
    fs::rename(new, &path).unwrap();
    path
}

fn with_secret(settings: ClusterSettings, path: &Path) -> ClusterSettings {
    ClusterSettings { secret_file: path.to_str().unwrap().to_owned(), ..settings }
}

fn member(jobmanager: &JobManagerThread, change: impl FnOnce(&mut ClusterSettings)) -> TaskManagerThread {
    TaskManagerThread::start_changed(&jobmanager.address, 1, |launch| change(&mut launch.settings))
}

fn failure(outcome: &TaskManagerOutcome) -> &Error {
    match outcome {
        TaskManagerOutcome::Failed(error) => error,
        other => panic!("it was to fail: {other:?}"),
    }
}

#[test]
fn a_cluster_with_a_secret_finishes_and_tells_strangers_nothing() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 20_000, 0.0);
    let secret = write_secret(directory.path(), "ours");
    let other = TempDir::new().unwrap();
    let another = write_secret(other.path(), "another");
    let settings = ClusterSettings { parallelism: 2, ..in_directory(directory.path()) };
    let jobmanager = JobManagerThread::start(with_secret(settings, &secret), &params);
    let soon = Duration::from_millis(300);
    let wrong = member(&jobmanager, |settings| {
        *settings = with_secret(ClusterSettings { jobmanager_timeout: soon, ..settings.clone() }, &another);
    });
    let none = member(&jobmanager, |settings| settings.jobmanager_timeout = soon);
    for (stranger, expected) in [(wrong, "another secret"), (none, "it speaks TLS")] {
        let outcome = stranger.end();
        let error = failure(&outcome);
        assert_eq!(error.kind(), ErrorKind::Settings, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.to_string().contains("counting"), "it has learnt the name of the job: {error}");
    }
    let members = [0, 1].map(|_| member(&jobmanager, |s| *s = with_secret(s.clone(), &secret)));
    let outcome = jobmanager.end();
    assert_finished(&outcome);
    assert_eq!(outcome.summary.restarts, 0);
    for member in members {
        assert_eq!(member.end().exit_code(), 0);
    }
    assert_exact(&params);
}

#[test]
fn a_member_with_a_secret_gives_none_away_to_a_job_manager_without() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), 1_000, 0.0);
    let secret = write_secret(directory.path(), "ours");
    let jobmanager = JobManagerThread::start(in_directory(directory.path()), &params);
    let secured = member(&jobmanager, |settings| {
        settings.jobmanager_timeout = Duration::from_millis(300);
        *settings = with_secret(settings.clone(), &secret);
    });
    let outcome = secured.end();
    assert!(failure(&outcome).to_string().contains("while TLS was being set up"), "{outcome:?}");
    let plain = member(&jobmanager, |_| {});
    assert_finished(&jobmanager.end());
    assert_eq!(plain.end().exit_code(), 0);
}

/// Writes the files of as many processes, each with a name of its own and that of the cluster.
fn enrol<const N: usize>(directory: &Path, cluster: &str) -> [ClusterSettings; N] {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let write = |name: String, content: &str| {
        let path = directory.join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    std::array::from_fn(|number| {
        let names = vec![format!("host-{number}"), cluster.to_owned()];
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        ClusterSettings {
            tls_cert: write(format!("{number}.pem"), &certificate.pem()),
            tls_key: write(format!("{number}.key"), &key.serialize_pem()),
            tls_ca: write("ca.pem".to_owned(), &authority),
            ..in_directory(directory)
        }
    })
}

fn use_certificates(settings: &mut ClusterSettings, files: &ClusterSettings) {
    settings.tls_cert.clone_from(&files.tls_cert);
    settings.tls_key.clone_from(&files.tls_key);
    settings.tls_ca.clone_from(&files.tls_ca);
}

#[test]
fn a_cluster_with_certificates_finishes_and_refuses_those_of_another_authority() {
    let (directory, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let params = Params::new(directory.path(), 20_000, 0.0);
    let files: [_; 3] = enrol(directory.path(), "cards");
    let [foreign] = enrol(elsewhere.path(), "cards");
    let settings = ClusterSettings { parallelism: 2, ..files[0].clone() };
    let jobmanager = JobManagerThread::start(settings, &params);
    let stranger = member(&jobmanager, |settings| {
        settings.jobmanager_timeout = Duration::from_millis(300);
        use_certificates(settings, &foreign);
    });
    assert_eq!(stranger.end().exit_code(), 3);
    let members = [1, 2].map(|n| member(&jobmanager, |settings| use_certificates(settings, &files[n])));
    assert_finished(&jobmanager.end());
    for member in members {
        assert_eq!(member.end().exit_code(), 0);
    }
    assert_exact(&params);
}

#[test]
fn a_killed_task_manager_is_replaced_by_one_that_came_after_the_secret_had_changed() {
    let directory = TempDir::new().unwrap();
    let params = Params::new(directory.path(), RECORDS, RATE);
    let secret = write_secret(directory.path(), "the first");
    let settings = ClusterSettings { parallelism: 2, ..in_directory(directory.path()) };
    let jobmanager = JobManagerThread::start(with_secret(settings, &secret), &params);
    let first = Process::start_with_secret(&jobmanager.address, &secret);
    jobmanager.lines.wait_for("TaskManager 1 joined");
    let second = Process::start_with_secret(&jobmanager.address, &secret);
    jobmanager.lines.wait_for("checkpoint 2 complete");
    write_secret(directory.path(), "the second");
    let third = Process::start_with_secret(&jobmanager.address, &secret);
    jobmanager.lines.wait_for("TaskManager 3 joined");
    jobmanager.lines.wait_for(" complete in");
    first.signal("-KILL");
    jobmanager.lines.wait_for("deploying attempt 2 from checkpoint");
    let outcome = jobmanager.end();
    assert_finished(&outcome);
    assert_eq!(outcome.summary.restarts, 1, "the change itself has disturbed nothing");
    for member in [second, third] {
        assert_eq!(member.exit_code(), Some(0));
    }
    assert_exact(&params);
}

#[test]
fn a_secret_that_can_be_guessed_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("secret");
    fs::write(&path, "hunter2").unwrap();
    let params = Params::new(directory.path(), 1, 0.0);
    let (_stop, launch) = crate::kit::launch(with_secret(in_directory(directory.path()), &path), &params);
    let outcome = flott_cluster::run_jobmanager(launch, std::sync::Arc::new(flott_cluster::Silent));
    let error = outcome.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("openssl rand -hex 32"), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}
