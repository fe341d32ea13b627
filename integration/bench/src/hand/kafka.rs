//! Kafka to Kafka by hand, exactly once: what is read since the last commit and what is written for it become visible
//! in one transaction.

use std::time::Duration;

use card_alerts::Payment;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, Producer},
};
use xtask::clock::Stopwatch;

use super::native::{BatchConsumer, BatchTopic, Message};
use crate::{
    error::{Error, Result},
    kafka::{PARTITIONS, Route},
    records::changed,
};

const COMMIT_EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// One call of `poll` per message read and of `send` per message written.
pub(super) fn single(route: &Route, records: u64) -> Result<()> {
    let consumer = consumer(route)?;
    let mut transactions = Transactions::begin(route, &consumer)?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assignment.add_partition_offset(&route.input, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut json = Vec::new();
    while transactions.read < records {
        match consumer.poll(Duration::from_millis(10)) {
            Some(Ok(message)) => {
                transactions.note(message.partition(), message.offset());
                change(message.payload().unwrap_or_default(), &mut json)?;
                transactions.send(&route.output, None, &json)?;
            }
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
        if transactions.read.is_multiple_of(1024) {
            transactions.commit_in_time(false)?;
        }
    }
    transactions.commit_in_time(true)
}

/// The batch calls of librdkafka, which the engine uses too.
pub(super) fn batch(route: &Route, records: u64) -> Result<()> {
    let committer = consumer(route)?;
    let mut transactions = Transactions::begin(route, &committer)?;
    let topic = BatchTopic::new(&transactions.producer, &route.output);
    let mut consumer = BatchConsumer::new(self::consumer(route)?, &route.input, PARTITIONS);
    let mut batch: Vec<Vec<u8>> = Vec::new();
    while transactions.read < records {
        let mut len = 0;
        consumer.consume(|Message { partition, offset, payload }| {
            transactions.note(partition, offset);
            if len == batch.len() {
                batch.push(Vec::new());
            }
            len += 1;
            change(payload, &mut batch[len - 1])
        })?;
        let mut sent = 0;
        while sent < len {
            sent += topic.produce(batch[sent..len].iter().map(Vec::as_slice));
            transactions.producer.poll(if sent < len { Duration::from_millis(1) } else { Duration::ZERO });
        }
        transactions.commit_in_time(false)?;
    }
    transactions.commit_in_time(true)
}

fn change(payload: &[u8], json: &mut Vec<u8>) -> Result<()> {
    let payment: Payment = serde_json::from_slice(payload)?;
    json.clear();
    Ok(serde_json::to_writer(json, &changed(payment))?)
}

/// A consumer that commits nothing by itself.
pub(super) fn consumer(route: &Route) -> Result<BaseConsumer> {
    let config = ClientConfig::new()
        .set("bootstrap.servers", &route.brokers)
        .set("group.id", format!("{}-group", route.output))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("queued.min.messages", "1000000")
        .set("fetch.queue.backoff.ms", "2")
        .create()?;
    Ok(config)
}

/// The open transaction and what was read for it.
pub(super) struct Transactions<'a> {
    pub(super) producer: BaseProducer,
    consumer: &'a BaseConsumer,
    input: String,
    /// The next offset of each partition.
    positions: Vec<i64>,
    pub(super) read: u64,
    since: Stopwatch,
}

impl<'a> Transactions<'a> {
    pub(super) fn begin(route: &Route, consumer: &'a BaseConsumer) -> Result<Self> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &route.brokers)
            .set("transactional.id", format!("{}-hand", route.output))
            .set("linger.ms", "20")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "500000")
            .set("delivery.report.only.error", "true")
            .create()?;
        producer.init_transactions(PATIENCE)?;
        producer.begin_transaction()?;
        let (input, positions) = (route.input.clone(), vec![0; PARTITIONS as usize]);
        Ok(Self { producer, consumer, input, positions, read: 0, since: Stopwatch::start() })
    }

    /// A message has been read.
    #[inline]
    pub(super) fn note(&mut self, partition: i32, offset: i64) {
        self.positions[partition as usize] = offset + 1;
        self.read += 1;
    }

    /// Sends a message; waits while there is no room.
    pub(super) fn send(&self, topic: &str, key: Option<&str>, payload: &[u8]) -> Result<()> {
        let mut record = BaseRecord::<str, [u8]>::to(topic).payload(payload);
        record.key = key;
        while let Err((error, unsent)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            self.producer.poll(Duration::from_millis(1));
            record = unsent;
        }
        Ok(())
    }

    /// Commits once a second, or now.
    pub(super) fn commit_in_time(&mut self, is_last: bool) -> Result<()> {
        self.producer.poll(Duration::ZERO);
        if self.since.elapsed() < COMMIT_EVERY && !is_last {
            return Ok(());
        }
        let mut offsets = TopicPartitionList::new();
        for (partition, &offset) in (0..).zip(&self.positions) {
            offsets.add_partition_offset(&self.input, partition, Offset::Offset(offset))?;
        }
        let group = self.consumer.group_metadata();
        let group = group.ok_or_else(|| Error::Missing("the consumer has no group".into()))?;
        self.producer.send_offsets_to_transaction(&offsets, &group, PATIENCE)?;
        self.producer.commit_transaction(PATIENCE)?;
        if !is_last {
            self.producer.begin_transaction()?;
        }
        self.since = Stopwatch::start();
        Ok(())
    }
}

impl From<KafkaError> for Error {
    fn from(error: KafkaError) -> Self {
        Self::Missing(format!("kafka: {error}"))
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Different(format!("not the JSON that was written: {error}"))
    }
}
