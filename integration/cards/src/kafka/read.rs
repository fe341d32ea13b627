use std::{collections::BTreeSet, time::Duration};

use card_alerts::Payment;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::BorrowedMessage,
};

use xtask::clock::{Stopwatch, pause};

use super::topics::{Topics, partitions};
use crate::{
    answers::{Answers, Output},
    error::{Error, Result, Trying},
    reference::{Reference, Rule},
};

/// A broker that says nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the markers of a commit may take.
const VISIBLE_PATIENCE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Reads a topic from its beginning to the end that a `read_committed` reader sees. Records of a partition come in
/// order.
///
/// # Errors
/// Those of Kafka, and those of `visit`.
pub fn read_topic(
    bootstrap: &str,
    topic: &str,
    mut visit: impl FnMut(&BorrowedMessage<'_>) -> Result<()>,
) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        // librdkafka wants a group even of those who assign; nothing is ever committed to it.
        .set("group.id", "flott-reader")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("queued.min.messages", "1000000")
        .set("fetch.queue.backoff.ms", "2")
        .create()
        .trying(|| "cannot make a consumer".to_owned())?;
    let mut unread: BTreeSet<i32> = partitions(&consumer, topic)?.into_iter().collect();
    let mut start = TopicPartitionList::new();
    for &partition in &unread {
        let added = start.add_partition_offset(topic, partition, Offset::Beginning);
        added.trying(|| format!("cannot read {topic}"))?;
    }
    consumer.assign(&start).trying(|| format!("cannot read {topic}"))?;
    while !unread.is_empty() {
        match consumer.poll(PATIENCE) {
            Some(Ok(message)) => visit(&message)?,
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                unread.remove(&partition);
            }
            // librdkafka goes on by itself after everything but the end of the world.
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_passing) => {}
            Some(Err(error)) => return Err(error).trying(|| format!("cannot read {topic}")),
            None => {
                let seconds = PATIENCE.as_secs();
                return Err(Error::Unexpected(format!("kafka: nothing from {topic} for {seconds} s")));
            }
        }
    }
    Ok(())
}

fn is_passing(code: rdkafka::types::RDKafkaErrorCode) -> bool {
    use rdkafka::types::RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut};
    matches!(code, AllBrokersDown | BrokerTransportFailure | OperationTimedOut)
}

/// Waits until readers see what is committed: a commit is answered when it is decided, and its markers reach the partitions
/// a little later. A transaction that stays open is waited for in vain, and not for long.
fn wait_until_visible(bootstrap: &str, topic: &str) -> Result<()> {
    let consumer = |isolation: &str| -> Result<BaseConsumer> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("isolation.level", isolation);
        config.create().trying(|| "cannot make a consumer".to_owned())
    };
    let (committed, written) = (consumer("read_committed")?, consumer("read_uncommitted")?);
    let end = |consumer: &BaseConsumer, partition| {
        let ends = consumer.fetch_watermarks(topic, partition, PATIENCE);
        ends.map(|(_, end)| end).trying(|| format!("cannot look at {topic}"))
    };
    let watch = Stopwatch::start();
    for partition in partitions(&written, topic)? {
        while watch.elapsed() < VISIBLE_PATIENCE && end(&committed, partition)? < end(&written, partition)? {
            pause(LOOK_EVERY);
        }
    }
    Ok(())
}

/// Reads the job's committed answers, and checks that their keys are right.
///
/// # Errors
/// When Kafka fails, or a record is no answer or has another key than it must.
pub fn read_answers(topics: &Topics) -> Result<Answers> {
    let mut answers = Answers::default();
    for output in Output::ALL {
        wait_until_visible(topics.bootstrap(), &topics.output(output))?;
        read_topic(topics.bootstrap(), &topics.output(output), |message| {
            let key = answers.add(output, message.payload().unwrap_or_default())?;
            if message.key() == Some(key.to_string().as_bytes()) {
                return Ok(());
            }
            let given = message.key().map(String::from_utf8_lossy);
            let (partition, offset) = (message.partition(), message.offset());
            let name = output.name();
            Err(Error::Unexpected(format!(
                "a record of {name} (partition {partition}, offset {offset}) has the key {given:?} and not {key}"
            )))
        })?;
    }
    Ok(answers)
}

/// Reads the payments back from the input topic and computes the right answers.
///
/// # Errors
/// When Kafka fails, or the payments are not what they must be.
pub fn read_reference(topics: &Topics, rule: Rule) -> Result<Answers> {
    let mut reference = Reference::new(rule);
    read_topic(topics.bootstrap(), &topics.payments(), |message| {
        let json = message.payload().unwrap_or_default();
        let payment: Payment = serde_json::from_slice(json).map_err(|error| {
            Error::Unexpected(format!("not a payment: {}: {error}", String::from_utf8_lossy(json)))
        })?;
        reference.add(message.partition(), &payment)
    })?;
    Ok(reference.finish())
}
