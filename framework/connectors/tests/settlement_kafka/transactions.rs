//! Transactions as sink subtasks leave them behind.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use flott_connectors::kafka::{
    client::{KafkaClient, TransactionPhase},
    settlement::{Committable, Marker, MarkerOwner, PartitionRecords},
};
use flott_core::{CheckpointId, Generation};
use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Deliveries(Arc<Mutex<Vec<i64>>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.lock().unwrap().push(result.as_ref().map_err(|(error, _)| error).unwrap().offset());
    }
}

/// A producer with transactions, one sink slot.
pub(crate) struct Slot {
    bootstrap: String,
    id: String,
    topic: String,
    producer: BaseProducer<Deliveries>,
    deliveries: Deliveries,
}

impl Slot {
    pub(crate) fn open(bootstrap: &str, id: &str, topic: &str, timeout: Duration) -> Self {
        let deliveries = Deliveries::default();
        let timeout = timeout.as_millis().to_string();
        let producer: BaseProducer<Deliveries> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("transactional.id", id)
            .set("transaction.timeout.ms", &timeout)
            .set("message.timeout.ms", &timeout)
            .set("linger.ms", "0")
            .create_with_context(deliveries.clone())
            .unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        Self { bootstrap: bootstrap.into(), id: id.into(), topic: topic.into(), producer, deliveries }
    }

    /// Begins a transaction with `records` records `{tag}-{number}` in partition 0, and flushes them.
    pub(crate) fn write(&self, tag: &str, records: usize) {
        self.deliveries.0.lock().unwrap().clear();
        self.producer.begin_transaction().unwrap();
        for number in 0..records {
            let text = format!("{tag}-{number}");
            let record = BaseRecord::<(), str>::to(&self.topic).partition(0).payload(&text);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(PATIENCE).unwrap();
        assert_eq!(self.deliveries.0.lock().unwrap().len(), records);
    }

    /// Commits a marker as part of the transaction.
    pub(crate) fn mark(&self, owner: &MarkerOwner, checkpoint: u64) {
        let marker =
            Marker { owner: owner.clone(), checkpoint: CheckpointId(checkpoint), generation: Generation(1) };
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", &self.id)
            .create()
            .unwrap();
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&self.topic, 0, Offset::Offset(checkpoint as i64)).unwrap();
        offsets.elements()[0].set_metadata(marker.encode());
        let group = consumer.group_metadata().unwrap();
        self.producer.send_offsets_to_transaction(&offsets, &group, PATIENCE).unwrap();
    }

    pub(crate) fn commit(&self) {
        self.producer.commit_transaction(PATIENCE).unwrap();
    }

    /// What the checkpoint would list.
    pub(crate) async fn committable(&self, client: &KafkaClient, checkpoint: u64) -> Committable {
        let offsets = self.deliveries.0.lock().unwrap().clone();
        committable(client, &self.id, &self.topic, checkpoint, &offsets).await
    }
}

/// What the checkpoint would list for the open transaction of `id`, whose records were delivered at `offsets`.
pub(crate) async fn committable(
    client: &KafkaClient,
    id: &str,
    topic: &str,
    checkpoint: u64,
    offsets: &[i64],
) -> Committable {
    let seen = client.describe_transaction(id).await.unwrap().unwrap();
    assert_eq!(seen.phase, TransactionPhase::Ongoing);
    let records = PartitionRecords {
        topic: topic.into(),
        partition: 0,
        records: offsets.len() as u64,
        offset_first: *offsets.iter().min().unwrap(),
        offset_last: *offsets.iter().max().unwrap(),
    };
    Committable {
        transactional_id: id.into(),
        producer_id: seen.producer_id,
        producer_epoch: seen.producer_epoch,
        checkpoint_id: CheckpointId(checkpoint),
        txn_start_ms: seen.start_ms,
        timeout_ms: seen.timeout_ms as u32,
        cluster_id: client.cluster_id().await.unwrap(),
        marker_topic: topic.into(),
        records: vec![records],
    }
}

/// Variable that turns [`process_with_an_open_transaction`] from an idle test into that process.
const ORDER: &str = "FLOTT_TEST_TRANSACTION_ORDER";

/// Runs a process that writes, marks and flushes a transaction, and kills it with SIGKILL. Returns the offsets of its
/// records.
pub(crate) fn write_in_a_killed_process(
    bootstrap: &str,
    id: &str,
    topic: &str,
    (tag, records): (&str, usize),
    (owner, checkpoint): (&MarkerOwner, u64),
) -> Vec<i64> {
    let order = serde_json::json!([bootstrap, id, topic, tag, records, owner, checkpoint]);
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "transactions::process_with_an_open_transaction", "--nocapture"])
        .env(ORDER, order.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let ready = lines.map(|line| line.unwrap()).find(|line| line.contains("flushed at ")).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    serde_json::from_str(ready.split_once("flushed at ").unwrap().1).unwrap()
}

#[test]
fn process_with_an_open_transaction() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let (bootstrap, id, topic, tag, records, owner, checkpoint): (
        String,
        String,
        String,
        String,
        usize,
        MarkerOwner,
        u64,
    ) = serde_json::from_str(&order).unwrap();
    let slot = Slot::open(&bootstrap, &id, &topic, Duration::from_secs(60));
    slot.write(&tag, records);
    slot.mark(&owner, checkpoint);
    println!("flushed at {}", serde_json::to_string(&*slot.deliveries.0.lock().unwrap()).unwrap());
    std::thread::park();
}
