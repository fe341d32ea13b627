//! One broker for all tests, and small clients of librdkafka that know nothing of ours.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use flott_core::{
    Batch, EventTime, OperatorUid, Record, Result, SubtaskIndex,
    operator::{OperatorMetrics, StepTime},
    source::{ReaderContext, Source, SourceOutput, SourceReader, SourceStatus, Split},
};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};
use xtask::{
    clock::{Stopwatch, pause},
    kafka::{KafkaBroker, availability},
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The address of the broker, or ends the test.
macro_rules! kafka {
    () => {
        match $crate::support::bootstrap() {
            Some(bootstrap) => bootstrap,
            None => return,
        }
    };
}

pub(crate) fn bootstrap() -> Option<&'static str> {
    static BROKER: OnceLock<Option<KafkaBroker>> = OnceLock::new();
    BROKER.get_or_init(own_broker).as_ref().map(KafkaBroker::bootstrap)
}

/// A broker that no other test uses.
pub(crate) fn own_broker() -> Option<KafkaBroker> {
    let libraries = availability().libraries().inspect_err(|reason| eprintln!("no Kafka: {reason}")).ok()?;
    Some(KafkaBroker::start_temporary(libraries).unwrap())
}

/// A name that no other test uses.
pub(crate) fn fresh(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

pub(crate) fn make_topic(bootstrap: &str, name: &str, partitions: i32) -> String {
    let name = fresh(name);
    let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    let made = block_on(admin(bootstrap).create_topics([&topic], &AdminOptions::new())).unwrap();
    assert!(made[0].is_ok(), "{made:?}");
    name
}

pub(crate) fn grow_topic(bootstrap: &str, name: &str, partitions: usize) {
    let grown = NewPartitions::new(name, partitions);
    block_on(admin(bootstrap).create_partitions([&grown], &AdminOptions::new())).unwrap()[0]
        .as_ref()
        .unwrap();
}

/// Deletes a topic and creates it again with one partition.
pub(crate) fn recreate_topic(bootstrap: &str, name: &str) {
    let deleted = block_on(admin(bootstrap).delete_topics(&[name], &AdminOptions::new())).unwrap();
    deleted[0].as_ref().unwrap();
    let watch = Stopwatch::start();
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(1));
    // The name is free when all brokers have taken note.
    while block_on(admin(bootstrap).create_topics([&topic], &AdminOptions::new())).unwrap()[0].is_err() {
        assert!(watch.elapsed() < PATIENCE);
        pause(Duration::from_millis(100));
    }
}

/// Produces texts to a partition, each with its number as timestamp; in a transaction that is ended as told.
pub(crate) fn produce(bootstrap: &str, topic: &str, partition: i32, texts: impl IntoIterator<Item = String>) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    send(&producer, topic, partition, texts);
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, texts: impl IntoIterator<Item = String>) {
    for (number, text) in texts.into_iter().enumerate() {
        let time = i64::try_from(number).unwrap() + 1;
        let record = BaseRecord::<[u8], str>::to(topic).partition(partition).payload(&text).timestamp(time);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

pub(crate) enum Ended {
    Commit,
    Abort,
}

pub(crate) fn produce_in_transaction(
    bootstrap: &str,
    topic: &str,
    partition: i32,
    texts: impl IntoIterator<Item = String>,
    ended: Ended,
) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("transactional.id", fresh("other"))
        .create()
        .unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    send(&producer, topic, partition, texts);
    match ended {
        Ended::Commit => producer.commit_transaction(PATIENCE).unwrap(),
        Ended::Abort => producer.abort_transaction(PATIENCE).unwrap(),
    }
}

/// All that a reader sees in a topic until the ends of its partitions, by partition.
pub(crate) fn read_topic(bootstrap: &str, topic: &str, isolation: &str) -> BTreeMap<i32, Vec<String>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", fresh("reader"))
        .set("isolation.level", isolation)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut open = metadata.topics()[0].partitions().len();
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut seen = BTreeMap::<i32, Vec<String>>::new();
    while open > 0 {
        match consumer.poll(PATIENCE).expect("the end of the partition comes") {
            Ok(message) => {
                let text = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
                seen.entry(message.partition()).or_default().push(text);
            }
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => open -= 1,
            Err(error) => panic!("{error}"),
        }
    }
    seen
}

/// Runs one reader of a source, as a task would.
pub(crate) struct ReaderRun<T: Record> {
    pub(crate) reader: Box<dyn SourceReader<Out = T>>,
    pub(crate) metrics: Arc<OperatorMetrics>,
    pub(crate) seen: Seen<T>,
}

pub(crate) struct Seen<T> {
    pub(crate) records: Vec<(T, EventTime)>,
    pub(crate) ended: Vec<usize>,
}

impl<T: Record> SourceOutput<T> for Seen<T> {
    fn batch(&mut self, _split: usize, batch: &mut Batch<T>) -> Result<()> {
        self.records.extend(batch.drain());
        Ok(())
    }

    fn split_ended(&mut self, split: usize) -> Result<()> {
        assert!(!self.ended.contains(&split));
        self.ended.push(split);
        Ok(())
    }
}

impl<T: Record> ReaderRun<T> {
    /// A reader with no splits yet.
    pub(crate) fn new(source: &impl Source<Out = T>) -> Self {
        let metrics = Arc::<OperatorMetrics>::default();
        let uid = OperatorUid::new("source").unwrap();
        let context = ReaderContext { uid, subtask: SubtaskIndex(0), metrics: Arc::clone(&metrics) };
        let seen = Seen { records: Vec::new(), ended: Vec::new() };
        Self { reader: source.reader(&context).unwrap(), metrics, seen }
    }

    pub(crate) fn restored(source: &impl Source<Out = T>, splits: Vec<Split>) -> Self {
        let mut run = Self::new(source);
        run.reader.add_splits(splits).unwrap();
        run.reader.no_more_splits();
        run
    }

    pub(crate) fn poll(&mut self) -> Result<SourceStatus> {
        let now = flott_core::Clock::now(&flott_core::SystemClock);
        let status = self.reader.poll(StepTime { now, ..StepTime::default() }, &mut self.seen)?;
        if status == SourceStatus::Idle {
            pause(Duration::from_millis(1));
        }
        Ok(status)
    }

    /// Polls until so many records came.
    pub(crate) fn until(&mut self, records: usize) -> &mut Self {
        let watch = Stopwatch::start();
        while self.seen.records.len() < records {
            assert_ne!(self.poll().unwrap(), SourceStatus::End, "{} records", self.seen.records.len());
            assert!(watch.elapsed() < PATIENCE, "{} of {records} records", self.seen.records.len());
        }
        self
    }

    /// Polls until the source has ended.
    pub(crate) fn until_end(&mut self) -> &mut Self {
        let watch = Stopwatch::start();
        while self.poll().unwrap() != SourceStatus::End {
            assert!(watch.elapsed() < PATIENCE, "{} records, no end", self.seen.records.len());
        }
        self
    }

    /// Polls until an error comes.
    pub(crate) fn until_error(&mut self) -> flott_core::Error {
        let watch = Stopwatch::start();
        loop {
            match self.poll() {
                Err(error) => return error,
                Ok(_) => assert!(watch.elapsed() < PATIENCE, "no error"),
            }
        }
    }
}

impl ReaderRun<String> {
    /// The records in lexical order: partitions may come in any.
    pub(crate) fn sorted(&self) -> Vec<&str> {
        let mut texts: Vec<_> = self.seen.records.iter().map(|(text, _)| text.as_str()).collect();
        texts.sort_unstable();
        texts
    }
}

/// `a0, a1, …`
pub(crate) fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}
