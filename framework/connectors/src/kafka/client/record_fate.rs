//! Whether a record that a transaction wrote is visible: a second witness beside the marker.

use flott_core::{Error, Result};
use kafka_protocol::messages::{
    BrokerId, FetchRequest,
    fetch_request::{FetchPartition, FetchTopic},
    fetch_response::PartitionData,
};
use serde::{Deserialize, Serialize};

use super::{
    code::KafkaCode,
    connection::Failure,
    kafka_client::KafkaClient,
    offsets::{check_partition, topic_name},
};

/// The last version that names topics.
const FETCH_VERSION_MAX: i16 = 12;
const READ_COMMITTED: i8 = 1;
const BYTES_MAX: i32 = 1 << 20;

/// What became of a record written in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordFate {
    /// Readers see it.
    Committed,
    /// Readers pass over it.
    Aborted,
    /// It is no longer there: deleted, compacted, or its topic is gone.
    Gone,
}

impl KafkaClient {
    /// Looks up the record that `producer_id` wrote at an offset. The transaction must be ended; while another one
    /// that began earlier still holds readers back, this waits.
    ///
    /// # Errors
    /// When there is no answer in time, or the permission to read is missing.
    pub async fn record_fate(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        producer_id: i64,
    ) -> Result<RecordFate> {
        let key = (topic.to_owned(), partition);
        let request = fetch_request(topic, partition, offset);
        self.persist(&format!("look up record {topic}/{partition}/{offset}"), || async {
            let metadata = self.metadata(Some(&[topic])).await.map_err(Failure::Stop)?;
            let address = match metadata.leader(topic, partition) {
                Err(KafkaCode::UNKNOWN_TOPIC_OR_PARTITION) => return Ok(RecordFate::Gone),
                Err(code) => return Err(refuse(&key, code)),
                Ok(address) => address,
            };
            let answer = self.ask(address, &request, FETCH_VERSION_MAX).await?;
            let found = answer.responses.first().and_then(|topic| topic.partitions.first());
            let found = found.ok_or_else(|| Failure::Retry(Error::transient("an empty fetch answer")))?;
            match KafkaCode(found.error_code) {
                KafkaCode::OFFSET_OUT_OF_RANGE | KafkaCode::UNKNOWN_TOPIC_OR_PARTITION => {
                    return Ok(RecordFate::Gone);
                }
                code => check_partition(&key, code)?,
            }
            read_fate(found, offset, producer_id).ok_or_else(|| {
                Failure::Retry(Error::transient(format!(
                    "readers of {topic}/{partition} are held back at offset {} by another open transaction",
                    found.last_stable_offset
                )))
            })
        })
        .await
    }
}

fn refuse(key: &(String, i32), code: KafkaCode) -> Failure {
    match check_partition(key, code) {
        Err(failure) => failure,
        Ok(()) => Failure::Stop(Error::internal("a code that is none")),
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

    use super::*;

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
}
