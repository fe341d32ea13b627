//! Brokers of Kafka 4.3 complete a transaction without its marker in a partition that has no leader at that moment.

use std::time::Duration;

use flott_connectors::kafka::{
    client::KafkaClient,
    settlement::{
        AuditItem, AuditReport, Committable, MarkerOwner, Outcome, SettlementPolicy, SettlementRequest,
        audit, settle,
    },
    sink::KafkaSink,
};
use flott_core::{
    AttemptId, CheckpointId, Generation, OperatorUid, SubtaskIndex,
    sink::{Sink, WriterContext},
    testkit::WriterHarness,
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use tokio::task::block_in_place;
use xtask::{
    clock::{Stopwatch, pause},
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

/// A writer of the exactly-once sink, driven as a task would.
struct WriterRun(WriterHarness<String>);

impl WriterRun {
    fn new(bootstrap: &str, topic: &str) -> Self {
        let context = WriterContext {
            job: std::sync::Arc::default(),
            uid: OperatorUid::new("sink").unwrap(),
            subtask: SubtaskIndex(0),
            parallelism: 1,
            attempt: AttemptId(1),
            generation: Generation(1),
            metrics: std::sync::Arc::default(),
        };
        let sink = KafkaSink::utf8(bootstrap, topic).exactly_once(unique("job"));
        Self(WriterHarness::new(sink.writer(&context).unwrap(), pause))
    }

    /// Writes a record and closes its transaction by the barrier of a checkpoint.
    fn precommit(&mut self, checkpoint: u64) -> Committable {
        self.0.write(vec![checkpoint.to_string()]).unwrap();
        let listed = self.0.precommit(checkpoint).unwrap()().unwrap();
        let [listed] = &listed[..] else { panic!("{} transactions", listed.len()) };
        Committable::decode(listed).unwrap()
    }

    fn complete(&mut self, checkpoint: u64) {
        self.0.commit(checkpoint).unwrap();
    }
}

/// The end of another transaction of the producer would end the one whose marker was left out.
fn never_uses_again(writer: &mut WriterRun, left_out: &Committable) {
    for checkpoint in 2..8 {
        let listed = writer.precommit(checkpoint);
        assert_ne!(listed.transactional_id, left_out.transactional_id, "checkpoint {checkpoint}");
        writer.complete(checkpoint);
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
    let (topic, running, prefix) = (unique("out"), unique("running"), unique("job"));
    create_unreplicated(&bootstrap, &topic).await;
    create_unreplicated(&bootstrap, &running).await;
    let client = client(&bootstrap);
    wait_for_leader(&client, &topic, true).await;
    wait_for_leader(&client, &running, true).await;
    let (mut writer, left_out) = block_in_place(|| {
        let mut writer = WriterRun::new(&bootstrap, &running);
        let listed = writer.precommit(1);
        (writer, listed)
    });
    let id = format!("{prefix}.sink.g1.0.0");
    let slot = Slot::open(&bootstrap, &id, &topic, PATIENCE);
    slot.write("a", 3);
    let listed = slot.committable(&client, 5).await;
    drop(slot);
    cluster.broker(LONE).unwrap().stop().unwrap();
    wait_for_leader(&client, &topic, false).await;
    wait_for_leader(&client, &running, false).await;
    block_in_place(|| writer.complete(1));

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
    wait_for_leader(&client, &running, true).await;
    block_in_place(|| never_uses_again(&mut writer, &left_out));
    let item = AuditItem {
        transactional_id: left_out.transactional_id.clone(),
        producer: left_out.producer(),
        outcome: Outcome::Committed,
        topic: running,
        partition: 0,
        gone_for: 0,
    };
    let found = audit(&client, &[item]).await.unwrap();
    assert_eq!(found.hanging.len(), 1, "nothing has ended it: {found:?}");

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
