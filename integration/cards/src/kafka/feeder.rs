use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use card_alerts::Payment;
use rdkafka::{
    ClientConfig, ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
};

use crate::error::{Error, Result, Trying};

const FLUSH_PATIENCE: Duration = Duration::from_secs(300);
/// Reports of deliveries are asked for once in so many payments.
const POLL_EVERY: u64 = 10_000;

/// Writes payments to the input topic, each once and those of a partition in order, also while brokers are down.
///
/// The Kafka key is the card in decimal, so that a card is in one partition.
pub struct Feeder {
    producer: BaseProducer<Reports>,
    topic: String,
    json: Vec<u8>,
    key: String,
    sent: u64,
}

impl Feeder {
    /// A feeder of a topic.
    ///
    /// # Errors
    /// When the producer cannot be made.
    pub fn new(bootstrap: &str, topic: impl Into<String>) -> Result<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "500000")
            .set("message.timeout.ms", "300000")
            .set("delivery.report.only.error", "true")
            .create_with_context(Reports::default())
            .trying(|| "cannot make a producer".to_owned())?;
        Ok(Self { producer, topic: topic.into(), json: Vec::new(), key: String::new(), sent: 0 })
    }

    /// Number of payments sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends a payment; waits while the queue is full.
    ///
    /// # Errors
    /// When this payment or an earlier one cannot be delivered.
    pub fn send(&mut self, payment: &Payment) -> Result<()> {
        use std::fmt::Write;

        self.key.clear();
        self.json.clear();
        // Neither can fail: they write to memory.
        let _ = write!(self.key, "{}", payment.card);
        serde_json::to_writer(&mut self.json, payment)
            .map_err(|error| Error::Unexpected(format!("cannot write a payment: {error}")))?;
        let mut record = BaseRecord::to(&self.topic).key(self.key.as_str()).payload(&self.json[..]);
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), unsent)) => {
                    self.producer.poll(Duration::from_millis(10));
                    self.producer.context().check()?;
                    record = unsent;
                }
                Err((error, _)) => return Err(error).trying(|| "cannot send a payment".to_owned()),
            }
        }
        self.sent += 1;
        if self.sent.is_multiple_of(POLL_EVERY) {
            self.producer.poll(Duration::ZERO);
            self.producer.context().check()?;
        }
        Ok(())
    }

    /// Waits until all payments are delivered.
    ///
    /// # Errors
    /// When one cannot be delivered.
    pub fn flush(&mut self) -> Result<()> {
        self.producer.flush(FLUSH_PATIENCE).trying(|| "payments are not delivered".to_owned())?;
        self.producer.context().check()
    }
}

/// Remembers the first delivery that failed.
#[derive(Default)]
struct Reports {
    failure: Mutex<Option<KafkaError>>,
}

impl Reports {
    fn check(&self) -> Result<()> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failure.map_or(Ok(()), Err).trying(|| "a payment was not delivered".to_owned())
    }
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert_with(|| error.clone());
        }
    }
}
