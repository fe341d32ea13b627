//! Whether a record that a transaction wrote is visible: a second witness beside the marker.

use std::{collections::BTreeSet, time::Duration};

use flott_core::{Clock, Error, Result, SystemClock};
use kafka_protocol::messages::{
    BrokerId, FetchRequest,
    fetch_request::{FetchPartition, FetchTopic},
    fetch_response::PartitionData,
};
use serde::{Deserialize, Serialize};

use super::{
    code::KafkaCode,
    connection::Failure,
    insistence::Insistence,
    kafka_client::KafkaClient,
    metadata::ClusterMetadata,
    offsets::{check_partition, topic_name},
    producers::{EndedProducers, OpenTransaction, PartitionProducers, is_held_for_good},
};

/// The last version that names topics.
const FETCH_VERSION_MAX: i16 = 12;
const READ_COMMITTED: i8 = 1;
const BYTES_MAX: i32 = 1 << 20;
/// A topic is gone when brokers have not known it for so long: one of them may be behind the others.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// Transactions that a message names.
const HOLDERS_MAX: usize = 5;

/// What became of a record written in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordFate {
    /// Readers see it.
    Committed,
    /// Readers pass over it.
    Aborted,
    /// It is no longer there: deleted, compacted, or its topic is gone.
    Gone,
    /// Readers stand still before it and always will: a transaction that is over has no end in this partition.
    HeldBack,
}

impl RecordFate {
    /// True if it tells the outcome of the transaction.
    #[must_use]
    pub fn decides(&self) -> bool {
        matches!(self, Self::Committed | Self::Aborted)
    }
}

impl KafkaClient {
    /// Looks up the record that `producer_id` wrote at an offset. The transaction must be over. While another one that began
    /// earlier still holds readers back, this waits, unless that one is among `ended`.
    ///
    /// # Errors
    /// When there is no answer in time, or the permission to read is missing.
    pub async fn record_fate(
        &self,
        (topic, partition): (&str, i32),
        offset: i64,
        producer_id: i64,
        ended: &EndedProducers,
    ) -> Result<RecordFate> {
        let key = (topic.to_owned(), partition);
        let request = fetch_request(topic, partition, offset);
        let unknown = Insistence::new(UNKNOWN_FOR);
        self.persist(&format!("look up record {topic}/{partition}/{offset}"), || async {
            let found = self.fetch(&key, &request, &unknown).await?;
            let Some(found) = found else { return Ok(RecordFate::Gone) };
            match read_fate(&found, offset, producer_id) {
                Some(fate) => Ok(fate),
                None => self.wait_for_readers(&key, offset, ended).await,
            }
        })
        .await
    }

    /// `None` when the partition or the offset is gone.
    async fn fetch(
        &self,
        key: &(String, i32),
        request: &FetchRequest,
        unknown: &Insistence,
    ) -> Result<Option<PartitionData>, Failure> {
        let metadata = self.metadata(Some(&[&key.0])).await.map_err(Failure::Stop)?;
        let found = self.fetch_by(&metadata, key, request).await;
        let found = found.and_then(|found| match KafkaCode(found.error_code) {
            KafkaCode::UNKNOWN_TOPIC_OR_PARTITION if unknown.on_answer(SystemClock.now()) => Ok(None),
            code @ KafkaCode::UNKNOWN_TOPIC_OR_PARTITION => {
                Err(Failure::Retry(code.into_error("ask for its leader")))
            }
            code => {
                unknown.on_other();
                if code == KafkaCode::OFFSET_OUT_OF_RANGE {
                    Ok(None)
                } else {
                    check_partition(key, code).map(|()| Some(found))
                }
            }
        });
        found.inspect_err(|_| self.doubt_metadata(&metadata))
    }

    /// The answer of the partition's leader, also if it is an error.
    async fn fetch_by(
        &self,
        metadata: &ClusterMetadata,
        key: &(String, i32),
        request: &FetchRequest,
    ) -> Result<PartitionData, Failure> {
        let address = match metadata.leader(&key.0, key.1) {
            Err(code) => return Ok(PartitionData::default().with_error_code(code.0)),
            Ok(address) => address,
        };
        let mut answer = self.ask(address, request, FETCH_VERSION_MAX).await?;
        let found = answer.responses.first_mut().and_then(|topic| topic.partitions.pop());
        found.ok_or_else(|| Failure::Retry(Error::transient("an empty fetch answer")))
    }

    /// Readers do not get to `offset` yet: whether they ever will.
    async fn wait_for_readers(
        &self,
        key: &(String, i32),
        offset: i64,
        ended: &EndedProducers,
    ) -> Result<RecordFate, Failure> {
        let mut found =
            self.open_transactions(&BTreeSet::from([key.clone()])).await.map_err(Failure::Retry)?;
        let by = match found.remove(key) {
            Some(PartitionProducers::Open(open)) if is_held_for_good(&open, offset, ended) => {
                return Ok(RecordFate::HeldBack);
            }
            Some(PartitionProducers::Open(open)) => holders(&open, offset),
            Some(PartitionProducers::Unknown(why) | PartitionProducers::Refused(why)) => {
                format!("an open transaction, which cannot be seen: {why}")
            }
            Some(PartitionProducers::Gone) | None => "an open transaction, which cannot be seen".into(),
        };
        let (topic, partition) = key;
        let text = format!(
            "readers of {topic}/{partition} do not get to offset {offset}, they are held back by {by}"
        );
        Err(Failure::Retry(Error::transient(text)))
    }
}

/// The transactions of others that hold readers back, and what an administrator can do about them.
fn holders(open: &[OpenTransaction], offset: i64) -> String {
    let earlier = open.iter().filter(|open| open.offset <= offset).take(HOLDERS_MAX);
    let names: Vec<_> = earlier
        .map(|OpenTransaction { producer, offset }| {
            format!(
                "the transaction of producer id {}, epoch {}, open since offset {offset}",
                producer.id, producer.epoch
            )
        })
        .collect();
    match names.len() {
        0 => "a transaction that has ended by now".into(),
        _ => format!(
            "{}; kafka-transactions.sh find-hanging tells whether its end is missing",
            names.join(", ")
        ),
    }
}

/// `None` while readers cannot get there yet.
fn read_fate(found: &PartitionData, offset: i64, producer_id: i64) -> Option<RecordFate> {
    if found.last_stable_offset <= offset {
        return None;
    }
    let aborted = found.aborted_transactions.iter().flatten();
    if aborted
        .into_iter()
        .any(|aborted| aborted.producer_id.0 == producer_id && aborted.first_offset <= offset)
    {
        return Some(RecordFate::Aborted);
    }
    let batch = found.records.as_deref().and_then(BatchHead::read);
    let is_there = batch.is_some_and(|batch| {
        (batch.offset_first..=batch.offset_last).contains(&offset) && batch.producer_id == producer_id
    });
    Some(if is_there { RecordFate::Committed } else { RecordFate::Gone })
}

/// The fields of a record batch's head that say whose it is.
#[derive(Debug, PartialEq, Eq)]
struct BatchHead {
    offset_first: i64,
    offset_last: i64,
    producer_id: i64,
}

impl BatchHead {
    fn read(bytes: &[u8]) -> Option<Self> {
        let long = |at: usize| Some(i64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let last_delta = i32::from_be_bytes(bytes.get(23..27)?.try_into().ok()?);
        let offset_first = long(0)?;
        let offset_last = offset_first.checked_add(i64::from(last_delta))?;
        (bytes.get(16) == Some(&2)).then_some(Self { offset_first, offset_last, producer_id: long(43)? })
    }
}

fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(BYTES_MAX);
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(100)
        .with_min_bytes(1)
        .with_max_bytes(BYTES_MAX)
        .with_isolation_level(READ_COMMITTED)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::{ProducerId, fetch_response::AbortedTransaction};

    use super::{super::transactions::ProducerIdentity, *};

    fn batch(first: i64, last_delta: i32, producer_id: i64) -> Bytes {
        let mut bytes = vec![0; 61];
        bytes[..8].copy_from_slice(&first.to_be_bytes());
        bytes[16] = 2;
        bytes[23..27].copy_from_slice(&last_delta.to_be_bytes());
        bytes[43..51].copy_from_slice(&producer_id.to_be_bytes());
        bytes.into()
    }

    fn found(stable: i64, aborted: &[(i64, i64)], records: Bytes) -> PartitionData {
        let aborted = aborted.iter().map(|&(producer, first)| {
            AbortedTransaction::default().with_producer_id(ProducerId(producer)).with_first_offset(first)
        });
        PartitionData::default()
            .with_last_stable_offset(stable)
            .with_aborted_transactions(Some(aborted.collect()))
            .with_records(Some(records))
    }

    #[test]
    fn the_fate_of_a_record() {
        let batch = batch(8, 4, 7);
        assert_eq!(read_fate(&found(20, &[], batch.clone()), 10, 7), Some(RecordFate::Committed));
        assert_eq!(read_fate(&found(20, &[(7, 8)], batch.clone()), 10, 7), Some(RecordFate::Aborted));
        assert_eq!(
            read_fate(&found(20, &[(7, 15), (9, 1)], batch.clone()), 10, 7),
            Some(RecordFate::Committed)
        );
        assert_eq!(
            read_fate(&found(20, &[], batch.clone()), 13, 7),
            Some(RecordFate::Gone),
            "compacted away"
        );
        assert_eq!(
            read_fate(&found(20, &[], batch.clone()), 10, 6),
            Some(RecordFate::Gone),
            "someone else's"
        );
        assert_eq!(read_fate(&found(20, &[], Bytes::new()), 10, 7), Some(RecordFate::Gone));
        assert_eq!(read_fate(&found(10, &[], batch), 10, 7), None, "readers are not there yet");
    }

    #[test]
    fn who_holds_readers_back_is_named() {
        let open = |id, offset| OpenTransaction { producer: ProducerIdentity { id, epoch: 4 }, offset };
        let text = holders(&[open(7, 9), open(8, 11)], 10);
        for part in ["producer id 7, epoch 4", "offset 9", "kafka-transactions.sh find-hanging"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("producer id 8"), "it began later: {text}");
    }
}
