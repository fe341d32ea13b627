//! Brokers of Kafka 4.3 complete a transaction without its marker in a partition that has no leader at that moment.

use std::time::Duration;

use flott_connectors::kafka::{
    client::KafkaClient,
    settlement::{AuditReport, MarkerOwner, SettlementPolicy, SettlementRequest, audit, settle},
};
use flott_core::{CheckpointId, OperatorUid};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use xtask::{
    clock::Stopwatch,
    kafka::{KafkaCluster, availability_of},
};

use crate::{
    bench_brokers::{client, unique},
    transactions::Slot,
};

/// The newest version whose broker leaves markers out.
const VERSION: &str = "4.3.1";
const PATIENCE: Duration = Duration::from_secs(60);
const LONE: i32 = 3;

/// A topic with one partition and one replica, at broker [`LONE`].
async fn create_unreplicated(bootstrap: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let places: &[&[i32]] = &[&[LONE]];
    let topic = NewTopic::new(topic, 1, TopicReplication::Variable(places)).set("min.insync.replicas", "1");
    for created in admin.create_topics([&topic], &AdminOptions::new()).await.unwrap() {
        created.unwrap();
    }
}

async fn wait_for_leader(client: &KafkaClient, topic: &str, is_there: bool) {
    let watch = Stopwatch::start();
    loop {
        let metadata = client.metadata(Some(&[topic])).await.unwrap();
        let partition = metadata.topics.get(topic).and_then(|topic| topic.partitions.get(&0));
        if partition.is_some_and(|partition| partition.leader.is_some() == is_there) {
            return;
        }
        assert!(watch.elapsed() < PATIENCE, "{partition:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_that_a_broker_has_left_out_is_named() {
    let available = availability_of(VERSION);
    let libraries = match available.libraries() {
        Ok(libraries) => libraries,
        Err(reason) => return eprintln!("no Kafka {VERSION}: {reason}"),
    };
    let mut cluster = KafkaCluster::start_temporary(libraries, 3).unwrap();
    let bootstrap = cluster.bootstrap();
    let (topic, prefix) = (unique("out"), unique("job"));
    create_unreplicated(&bootstrap, &topic).await;
    let client = client(&bootstrap);
    wait_for_leader(&client, &topic, true).await;
    let id = format!("{prefix}.sink.g1.0.0");
    let slot = Slot::open(&bootstrap, &id, &topic, PATIENCE);
    slot.write("a", 3);
    let listed = slot.committable(&client, 5).await;
    drop(slot);
    cluster.broker(LONE).unwrap().stop().unwrap();
    wait_for_leader(&client, &topic, false).await;

    let owner = MarkerOwner { job: "job".into(), run: "r".into() };
    // The topic of the markers needs no leader, but it has to be there.
    let mut request = SettlementRequest::new(&prefix, OperatorUid::new("sink").unwrap(), &topic, owner);
    request.restored = Some(CheckpointId(5));
    request.committables = vec![listed.clone()];
    let report = settle(&client, request).await.unwrap();
    report.verdict(SettlementPolicy::default()).unwrap();
    assert_eq!(report.committed.len(), 1, "the coordinator says that all is well");
    let items = report.to_audit;
    assert_eq!(items.len(), 1);
    let blind = audit(&client, &items).await.unwrap();
    assert_eq!((blind.hanging.len(), blind.open_items()), (0, items.clone()), "nobody can be asked");

    cluster.broker(LONE).unwrap().restart().unwrap();
    wait_for_leader(&client, &topic, true).await;
    let watch = Stopwatch::start();
    let found: AuditReport = loop {
        let found = audit(&client, &items).await.unwrap();
        if found.unknown.is_empty() {
            break found;
        }
        assert!(watch.elapsed() < PATIENCE, "{found:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let [hanging] = &found.hanging[..] else { panic!("{found:?}") };
    assert_eq!((hanging.item.producer, hanging.offset), (listed.producer(), 0));
    let text = hanging.to_string();
    for part in [format!("{topic}/0"), id, format!("producer id {}", listed.producer_id), "offset 0".into()] {
        assert!(text.contains(&part), "{text}");
    }
}
