//! A producer with the tally of what it has delivered.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use flott_core::{Clock, ClockReading, Error, ErrorKind, MonotonicTime, Result, SystemClock};
use rdkafka::{
    ClientConfig, ClientContext, Message,
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
    types::RDKafkaErrorCode,
};

use super::{dispatcher::Dispatcher, outbox::Outbox, settings::SinkSettings};
use crate::kafka::{
    client::ProducerIdentity,
    failure::{code_failure, failure},
    native::BatchProducer,
    settlement::PartitionRecords,
    trouble,
};

/// What a request takes beside its records, at most: topic and transactional id have a few hundred bytes.
const REQUEST_OVERHEAD: usize = 1024;
/// Records that are given to librdkafka in one call.
const BATCH_RECORDS: usize = 4096;
/// How long a draining thread sleeps between two looks at what was delivered. It does not sleep in rdkafka: that takes
/// whole milliseconds only and spins for the rest, on a core that the broker may need.
const DRAIN_PAUSE: Duration = Duration::from_millis(1);
/// The same when nothing has been delivered for a while.
const DRAIN_PAUSE_MAX: Duration = Duration::from_millis(16);

/// How long records may be under way without any delivery. A producer that was told of no broker at all asks none of them ever again,
/// also when all are back; a new one, after a restart of the task, finds them.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Lane {
    producer: Arc<BatchProducer<Deliveries>>,
    dispatcher: Dispatcher,
    topic: Arc<str>,
    tally: Arc<Mutex<Tally>>,
    /// Since when a transaction is open: no later than for the broker, which counts from the first record.
    begun: Mutex<Option<ClockReading>>,
    /// The producer as the coordinator knew it when it had taken its id over. It does not change: librdkafka takes a new
    /// epoch only to abort, which nobody asks it to do.
    identity: OnceLock<ProducerIdentity>,
    is_abandoned: Arc<AtomicBool>,
    request: RequestLimits,
    /// How long records wait for others.
    linger: Duration,
}

/// What delivery reports have told since the transaction began.
#[derive(Debug, Default)]
struct Tally {
    /// By partition number.
    partitions: Vec<PartitionTally>,
    delivered: u64,
    patience: Patience,
    failure: Option<(RDKafkaErrorCode, i32)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct PartitionTally {
    records: u64,
    first: i64,
    last: i64,
}

impl Lane {
    pub(super) fn new(settings: &SinkSettings, config: &ClientConfig) -> Result<Self> {
        let topic = &settings.topic;
        let tally = Arc::<Mutex<Tally>>::default();
        let context = Deliveries { topic: Arc::clone(topic), tally: Arc::clone(&tally) };
        let producer = config.create_with_context::<_, BaseProducer<_>>(context);
        let producer = producer.map_err(|error| failure(format!("Kafka topic {topic}"), &error))?;
        let producer = Arc::new(BatchProducer::new(producer, topic)?);
        let is_abandoned = Arc::<AtomicBool>::default();
        Ok(Self {
            dispatcher: Dispatcher::new(&producer, &is_abandoned)?,
            producer,
            topic: Arc::clone(topic),
            tally,
            begun: Mutex::default(),
            identity: OnceLock::new(),
            is_abandoned,
            request: RequestLimits::of(config),
            linger: settings.linger()?,
        })
    }

    pub(super) fn producer(&self) -> &BatchProducer<Deliveries> {
        &self.producer
    }

    pub(super) fn client(&self) -> &BaseProducer<Deliveries> {
        self.producer.client()
    }

    fn what(&self) -> String {
        format!("cannot write to Kafka topic {}", self.topic)
    }

    /// Begins a transaction, unless one is open.
    pub(super) fn begin(&self) -> Result<()> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.is_none() {
            *begun = Some(ClockReading::now(&SystemClock));
            *self.tally() = Tally::default();
            let begun = self.client().begin_transaction();
            begun.map_err(|error| failure(self.what(), &error))?;
        }
        Ok(())
    }

    /// The transaction is committed.
    pub(super) fn end(&self) {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The time that its transaction has been open; zero when none is.
    pub(super) fn transaction_age(&self) -> Duration {
        let begun = *self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.map_or(Duration::ZERO, |begun| begun.age(ClockReading::now(&SystemClock)))
    }

    /// Keeps what the coordinator knows the producer by.
    pub(super) fn set_identity(&self, identity: ProducerIdentity) {
        let _ = self.identity.set(identity);
    }

    pub(super) fn identity(&self) -> Option<ProducerIdentity> {
        self.identity.get().copied()
    }

    /// The writer is gone: who still waits for brokers on its behalf gives up.
    pub(super) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Release);
    }

    /// Sends what fits into one request, when all that was sent before is delivered: see [`Dispatcher`]. What comes
    /// meanwhile makes the next request larger. Unless this is the last for now, records wait for others, as `linger.ms`
    /// says.
    pub(super) fn send(&self, outbox: &mut Outbox, is_last: bool) -> Result<()> {
        if outbox.is_empty() {
            return Ok(());
        }
        let now = SystemClock.now();
        let waiting = now.since(*outbox.waiting_since.get_or_insert(now));
        if self.is_under_way() || !(is_last || waiting >= self.linger || self.request.is_filled_by(outbox)) {
            return Ok(());
        }
        self.give(outbox)?;
        self.dispatcher.dispatch()
    }

    /// Whether records that the producer was given are not reported yet.
    fn is_under_way(&self) -> bool {
        self.dispatcher.is_busy() || self.client().in_flight_count() > 0
    }

    fn give(&self, outbox: &mut Outbox) -> Result<()> {
        let mut room = outbox.fitting(self.request.records_max, self.request.bytes_max);
        while room > 0
            && let Some(entry) = outbox.first()
        {
            let mut plain = outbox.plain(room.min(BATCH_RECORDS)).peekable();
            let (count, refusal) = if plain.peek().is_some() {
                let produced = self.producer.produce(plain);
                (produced.count, produced.refusal)
            } else {
                drop(plain);
                match self.send_one(outbox, entry) {
                    Ok(()) => (1, None),
                    Err(code) => (0, Some(code)),
                }
            };
            outbox.advance(count);
            room -= count;
            match refusal {
                None => {}
                Some(RDKafkaErrorCode::QueueFull) => return Ok(()),
                Some(code) => return Err(code_failure(self.what(), code, &code.to_string())),
            }
        }
        Ok(())
    }

    fn send_one(&self, outbox: &Outbox, entry: &super::outbox::Entry) -> Result<(), RDKafkaErrorCode> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic);
        record.key = entry.key.map(|span| outbox.at(span));
        record.payload = entry.value.map(|span| outbox.at(span));
        record.partition = entry.partition;
        record.timestamp = entry.timestamp;
        if !entry.headers.is_empty() {
            let headers = &outbox.headers[entry.headers.clone()];
            let all = headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, header| {
                let key = std::str::from_utf8(outbox.at(header.name)).expect("was a str");
                all.insert(Header { key, value: Some(outbox.at(header.value)) })
            });
            record.headers = Some(all);
        }
        let sent = self.client().send(record);
        sent.map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail))
    }

    /// Serves delivery reports, without waiting. Fails when nothing was delivered for a long time.
    pub(super) fn poll(&self) -> Result<()> {
        self.client().poll(Duration::ZERO);
        let in_flight = self.client().in_flight_count();
        let mut tally = self.tally();
        let seen = (in_flight > 0).then_some((in_flight, tally.delivered));
        if tally.patience.is_over(seen, SystemClock.now()) {
            let text = format!("{}: nothing was delivered for {DELIVERY_PATIENCE:?}", self.what());
            return Err(Error::transient(text));
        }
        drop(tally);
        self.check()
    }

    /// Sends all of `outbox` and waits until the fate of every record is known. Blocks.
    pub(super) fn drain(&self, outbox: &mut Outbox) -> Result<()> {
        let (mut pause, mut delivered) = (DRAIN_PAUSE, 0);
        loop {
            self.send(outbox, true)?;
            if outbox.is_empty() && !self.is_under_way() {
                return self.check();
            }
            self.poll()?;
            let before = std::mem::replace(&mut delivered, self.tally().delivered);
            pause = if before == delivered { DRAIN_PAUSE_MAX.min(pause * 2) } else { DRAIN_PAUSE };
            std::thread::park_timeout(pause);
        }
    }

    /// Fails when a record was not delivered, or nobody wants it any more.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_abandoned.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Cancelled, format!("{}: the attempt is over", self.what())));
        }
        let failure = self.tally().failure;
        failure.map_or(Ok(()), |(code, partition)| {
            let what = format!("{}, partition {partition}: a record was not delivered", self.what());
            Err(delivery_failure(what, code))
        })
    }

    /// What was delivered since the transaction began.
    pub(super) fn delivered(&self) -> Vec<PartitionRecords> {
        let tally = self.tally();
        let partitions = tally.partitions.iter().enumerate().filter(|(_, partition)| partition.records > 0);
        partitions
            .map(|(number, partition)| PartitionRecords {
                topic: self.topic.to_string(),
                partition: i32::try_from(number).expect("was a partition number"),
                records: partition.records,
                offset_first: partition.first,
                offset_last: partition.last,
            })
            .collect()
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Waits as long as something changes.
#[derive(Debug, Default)]
struct Patience {
    /// Records that are under way, and that were delivered before.
    seen: Option<(i32, u64)>,
    since: MonotonicTime,
}

impl Patience {
    /// Whether what is under way now has been the same for too long. `None`: nothing is.
    fn is_over(&mut self, seen: Option<(i32, u64)>, now: MonotonicTime) -> bool {
        if self.seen != seen {
            (self.seen, self.since) = (seen, now);
        }
        seen.is_some() && now.since(self.since) >= DELIVERY_PATIENCE
    }
}

/// How much the settings allow in one request.
#[derive(Debug)]
struct RequestLimits {
    records_max: usize,
    bytes_max: usize,
}

impl RequestLimits {
    fn is_filled_by(&self, outbox: &Outbox) -> bool {
        outbox.len() >= self.records_max || outbox.bytes() >= self.bytes_max
    }

    fn of(config: &ClientConfig) -> Self {
        let setting = |name, default| config.get(name).and_then(|text| text.parse().ok()).unwrap_or(default);
        let bytes_max = setting("batch.size", 1_000_000).min(setting("message.max.bytes", 1_000_000));
        Self {
            records_max: setting("batch.num.messages", 10_000),
            bytes_max: bytes_max.saturating_sub(REQUEST_OVERHEAD),
        }
    }
}

/// A timeout of a single record says nothing about reachability at the start: the task is restarted.
fn delivery_failure(what: String, code: RDKafkaErrorCode) -> Error {
    code_failure(what, code, &code.to_string())
}

/// Receives delivery reports.
pub(super) struct Deliveries {
    topic: Arc<str>,
    tally: Arc<Mutex<Tally>>,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        trouble::report(&self.topic, &error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(message) => tally.add(message.partition(), message.offset()),
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                tally.failure.get_or_insert((code, message.partition()));
            }
        }
    }
}

impl Tally {
    fn add(&mut self, partition: i32, offset: i64) {
        self.delivered += 1;
        let Ok(number) = usize::try_from(partition) else { return };
        if self.partitions.len() <= number {
            self.partitions.resize(number + 1, PartitionTally::default());
        }
        let partition = &mut self.partitions[number];
        if partition.records == 0 {
            *partition = PartitionTally { records: 0, first: offset, last: offset };
        }
        partition.records += 1;
        partition.first = partition.first.min(offset);
        partition.last = partition.last.max(offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_when_nothing_changes_for_too_long() {
        let at = |seconds| MonotonicTime::from_start(Duration::from_secs(seconds));
        let mut patience = Patience::default();
        for (seen, now, is_over) in [
            (None, 100, false),
            (Some((3, 0)), 200, false),
            (Some((3, 5)), 259, false),
            (Some((3, 5)), 318, false),
            (Some((3, 5)), 319, true),
            (None, 320, false),
            (None, 900, false),
            (Some((1, 8)), 901, false),
        ] {
            assert_eq!(patience.is_over(seen, at(now)), is_over, "{seen:?} at {now}");
        }
    }

    #[test]
    fn a_request_is_as_large_as_the_settings_allow() {
        let limits = |pairs: &[(&str, &str)]| {
            let mut config = ClientConfig::new();
            for (name, value) in pairs {
                config.set(*name, *value);
            }
            let limits = RequestLimits::of(&config);
            (limits.records_max, limits.bytes_max)
        };
        assert_eq!(limits(&[]), (10_000, 1_000_000 - REQUEST_OVERHEAD));
        let small = [("batch.num.messages", "500"), ("batch.size", "20000"), ("message.max.bytes", "30000")];
        assert_eq!(limits(&small), (500, 20_000 - REQUEST_OVERHEAD));
    }

    #[test]
    fn the_tally_keeps_counts_and_offsets_by_partition() {
        let mut tally = Tally::default();
        for (partition, offset) in [(2, 7), (0, 3), (2, 5), (-1, 0), (2, 9)] {
            tally.add(partition, offset);
        }
        let seen: Vec<_> = tally.partitions.iter().map(|p| (p.records, p.first, p.last)).collect();
        assert_eq!(seen, [(1, 3, 3), (0, 0, 0), (3, 5, 9)]);
    }
}
