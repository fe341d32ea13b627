//! Brokers as tests and storms use them. Where Kafka cannot be had the reason is printed and nothing is tested.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use xtask::clock::{Stopwatch, pause};
use xtask::kafka::{BrokerSettings, KafkaBroker, KafkaCluster, KafkaLibraries, availability, daemon};

fn libraries() -> Option<&'static KafkaLibraries> {
    availability().libraries().inspect_err(|reason| eprintln!("no Kafka: {reason}")).ok()
}

fn is_alive(process_id: u32) -> bool {
    Path::new(&format!("/proc/{process_id}/cmdline")).exists()
}

#[test]
fn a_killed_broker_comes_back_on_its_port_and_directory() {
    let Some(libraries) = libraries() else { return };
    let mut broker = KafkaBroker::start_temporary(libraries).unwrap();
    let bootstrap = broker.bootstrap().to_owned();
    let first = broker.process_id();
    let directory = broker.directory().to_owned();
    let meta = std::fs::read_to_string(directory.join("data/meta.properties")).unwrap();
    assert!(TcpStream::connect(&bootstrap).is_ok());

    broker.kill9();
    assert!(!broker.is_running());
    assert!(!is_alive(first));
    assert!(TcpStream::connect(&bootstrap).is_err());

    broker.restart().unwrap();
    assert!(broker.is_running());
    assert_ne!(broker.process_id(), first);
    assert_eq!(broker.bootstrap(), bootstrap);
    assert_eq!(std::fs::read_to_string(directory.join("data/meta.properties")).unwrap(), meta);
    assert!(daemon::is_up(broker.port()));

    broker.stop().unwrap();
    assert!(!broker.is_running());
    broker.restart().unwrap();
    let last = broker.process_id();
    drop(broker);
    assert!(!is_alive(last));
    assert!(!directory.exists());
}

#[test]
fn a_directory_keeps_its_data_and_properties_of_the_caller_hold() {
    let Some(libraries) = libraries() else { return };
    let directory = tempfile::tempdir().unwrap();
    let settings = || BrokerSettings::new(directory.path()).property("transaction.max.timeout.ms", "60000");
    let broker = KafkaBroker::start_with(libraries, settings()).unwrap();
    let properties = std::fs::read_to_string(directory.path().join("server.properties")).unwrap();
    assert!(properties.contains("transaction.max.timeout.ms=60000\n"), "{properties}");
    drop(broker);
    // Another owner, other ports, the same data.
    let broker = KafkaBroker::start_with(libraries, settings()).unwrap();
    assert!(daemon::is_up(broker.port()));
}

#[test]
fn a_broken_setting_is_reported_with_the_brokers_own_words() {
    let Some(libraries) = libraries() else { return };
    let directory = tempfile::tempdir().unwrap();
    let settings = BrokerSettings::new(directory.path()).property("num.partitions", "many");
    let error = KafkaBroker::start_with(libraries, settings).unwrap_err().to_string();
    assert!(error.contains("many"), "{error}");
}

#[test]
fn of_three_brokers_any_one_can_go_and_come_back_or_stay_away() {
    let Some(libraries) = libraries() else { return };
    let watch = Stopwatch::start();
    let mut cluster = KafkaCluster::start_temporary(libraries, 3).unwrap();
    eprintln!("three brokers are up after {:?}", watch.elapsed());
    let cluster_id = |broker: &KafkaBroker| {
        let meta = std::fs::read_to_string(broker.directory().join("data/meta.properties")).unwrap();
        meta.lines().find(|line| line.starts_with("cluster.id=")).unwrap().to_owned()
    };
    let ids: Vec<_> = cluster.brokers().iter().map(KafkaBroker::id).collect();
    assert_eq!(ids, [1, 2, 3]);
    let first = cluster_id(&cluster.brokers()[0]);
    assert!(cluster.brokers().iter().all(|broker| cluster_id(broker) == first));
    assert_eq!(cluster.bootstrap().split(',').count(), 3);

    let second = cluster.broker(2).unwrap();
    second.kill9();
    assert!(!second.is_running());
    second.restart().unwrap();
    assert!(daemon::is_up(second.port()));

    let removed = cluster.broker(3).unwrap();
    let (process_id, directory) = (removed.process_id(), removed.directory().to_owned());
    cluster.remove(3).unwrap();
    assert!(!is_alive(process_id) && !directory.exists());
    assert!(cluster.broker(3).is_err() && cluster.remove(3).is_err());
    assert_eq!(cluster.bootstrap().split(',').count(), 2);

    let left: Vec<_> = cluster.brokers().iter().map(|broker| broker.directory().to_owned()).collect();
    drop(cluster);
    assert!(left.iter().all(|directory| !directory.exists()));
}

/// The owner dies by SIGKILL, so nothing is dropped; its guard must clean up.
#[test]
fn a_broker_dies_with_its_owner() {
    const OWNER: &str = "FLOTT_XTASK_TEST_OWNER";
    let Some(libraries) = libraries() else { return };
    if let Some(report) = std::env::var_os(OWNER) {
        let broker = KafkaBroker::start_temporary(libraries).unwrap();
        let text = format!("{} {}", broker.process_id(), broker.directory().display());
        std::fs::write(report, text).unwrap();
        xtask::process::signal(std::process::id(), xtask::process::Signal::KILL).unwrap();
        pause(Duration::from_secs(60));
    }
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let mut owner = Command::new(std::env::current_exe().unwrap());
    owner.args(["--exact", "a_broker_dies_with_its_owner"]).env(OWNER, &report);
    assert!(!xtask::process::succeeds(&mut owner));

    let text = std::fs::read_to_string(report).unwrap();
    let (process_id, directory) = text.split_once(' ').unwrap();
    let process_id: u32 = process_id.parse().unwrap();
    let watch = Stopwatch::start();
    // Where nobody reaps orphans the dead process stays listed, without a command line.
    let is_gone = || std::fs::read(format!("/proc/{process_id}/cmdline")).unwrap_or_default().is_empty();
    while !is_gone() || Path::new(directory).exists() {
        assert!(
            watch.elapsed() < Duration::from_secs(10),
            "broker {process_id} or {directory} is still there"
        );
        pause(Duration::from_millis(20));
    }
}
