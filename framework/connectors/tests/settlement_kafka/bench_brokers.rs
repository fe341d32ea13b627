//! The brokers that tests share, and clients of them.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use flott_connectors::kafka::client::{ClientSettings, KafkaClient};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};
use xtask::kafka::{BrokerSettings, KafkaBroker, KafkaLibraries, availability, scram_password};

/// One broker for all tests of this process; it aborts timed-out transactions quickly.
pub(crate) fn broker() -> Option<&'static str> {
    static BROKER: OnceLock<Option<(KafkaBroker, tempfile::TempDir)>> = OnceLock::new();
    let started = BROKER.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        Some((KafkaBroker::start_with(libraries()?, settings(&directory)).unwrap(), directory))
    });
    started.as_ref().map(|(broker, _)| broker.bootstrap())
}

/// A broker for one test.
pub(crate) fn own_broker(
    change: impl FnOnce(BrokerSettings) -> BrokerSettings,
) -> Option<(KafkaBroker, tempfile::TempDir)> {
    let directory = tempfile::tempdir().unwrap();
    Some((KafkaBroker::start_with(libraries()?, change(settings(&directory))).unwrap(), directory))
}

fn settings(directory: &tempfile::TempDir) -> BrokerSettings {
    BrokerSettings::new(directory.path())
        .property("transaction.abort.timed.out.transaction.cleanup.interval.ms", "200")
}

pub(crate) fn libraries() -> Option<&'static KafkaLibraries> {
    availability().libraries().inspect_err(|reason| eprintln!("no Kafka: {reason}")).ok()
}

pub(crate) fn client(bootstrap: &str) -> KafkaClient {
    let properties = BTreeMap::from([("bootstrap.servers".to_owned(), bootstrap.to_owned())]);
    KafkaClient::new(ClientSettings::from_properties(&properties).unwrap()).unwrap()
}

/// A name that no other test and no other run uses.
#[expect(clippy::disallowed_methods, reason = "unique names, nothing is decided by them")]
pub(crate) fn unique(name: &str) -> String {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    format!("{name}-{nanos:x}")
}

pub(crate) async fn create_topic(bootstrap: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let topic = NewTopic::new(topic, 2, TopicReplication::Fixed(1));
    for created in admin.create_topics([&topic], &AdminOptions::new()).await.unwrap() {
        created.unwrap();
    }
}

/// What a `read_committed` reader finds in partition 0 up to the end that it may see.
pub(crate) fn read_committed(bootstrap: &str, topic: &str) -> Vec<String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "reader")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&start).unwrap();
    let mut found = Vec::new();
    loop {
        match consumer.poll(Duration::from_secs(10)).expect("an end or an error") {
            Ok(message) => found.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap()),
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => return found,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Gives `user` a password for a SCRAM mechanism, by Kafka's own tool.
pub(crate) fn add_scram_user(bootstrap: &str, mechanism: &str, user: &str, password: &str) {
    let added = scram_password(libraries().unwrap(), bootstrap, mechanism, user, password).output().unwrap();
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
}

/// A port on which nothing listens now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
