//! The producers that a partition remembers, and those of them with an open transaction.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use flott_core::{Clock, Result, SystemClock};
use futures::future::join_all;
use kafka_protocol::messages::{
    DescribeProducersRequest, describe_producers_request::TopicRequest,
    describe_producers_response::PartitionResponse,
};
use tokio::time::timeout;

use super::{
    code::KafkaCode,
    connection::Failure,
    kafka_client::KafkaClient,
    offsets::{by_topic, topic_name},
    settings::BrokerAddress,
    transactions::ProducerIdentity,
};

const DESCRIBE_PRODUCERS_VERSION: i16 = 0;

/// A transaction that is open in a partition, by what its leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    /// The producer that has written.
    pub producer: ProducerIdentity,
    /// Offset of the first record: `read_committed` readers do not get further.
    pub offset: i64,
}

/// Producers whose transactions are over, by what their coordinators say: by producer id, with all epochs up to this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndedProducers(BTreeMap<i64, i16>);

impl EndedProducers {
    /// All transactions of this producer, and of earlier ones with its id, are over.
    pub fn add(&mut self, producer: ProducerIdentity) {
        let epoch = self.0.entry(producer.id).or_insert(producer.epoch);
        *epoch = producer.epoch.max(*epoch);
    }

    /// True if nobody will end a transaction of this producer that is open in a partition.
    #[must_use]
    pub fn includes(&self, producer: ProducerIdentity) -> bool {
        self.0.get(&producer.id).is_some_and(|&epoch| producer.epoch <= epoch)
    }
}

/// True if readers will never get to `offset`: a transaction that is over for its coordinator is open in the partition, so
/// its end will not be written any more (KAFKA-20734).
pub(super) fn is_held_for_good(open: &[OpenTransaction], offset: i64, ended: &EndedProducers) -> bool {
    open.iter().any(|open| open.offset <= offset && ended.includes(open.producer))
}

/// The open transactions of a partition, or the reason why they are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionProducers {
    /// The leader has told its open transactions.
    Open(Vec<OpenTransaction>),
    /// The broker asked knows no such topic or partition.
    Gone,
    /// Nobody could be asked: why.
    Unknown(String),
    /// This user may not know: which right is missing.
    Refused(String),
}

impl KafkaClient {
    /// Asks the leaders of `partitions` for the transactions that are open there. Each leader is asked once: a partition without
    /// a leader, or whose leader does not answer, is [`PartitionProducers::Unknown`].
    ///
    /// # Errors
    /// When no broker tells the leaders in time.
    pub async fn open_transactions(
        &self,
        partitions: &BTreeSet<(String, i32)>,
    ) -> Result<BTreeMap<(String, i32), PartitionProducers>> {
        let started = SystemClock.now();
        let topics: BTreeSet<_> = partitions.iter().map(|(topic, _)| topic.as_str()).collect();
        let metadata = self.metadata(Some(&topics.into_iter().collect::<Vec<_>>())).await?;
        let mut found = BTreeMap::new();
        let mut groups: HashMap<BrokerAddress, Vec<(String, i32)>> = HashMap::new();
        for key in partitions {
            match metadata.leader(&key.0, key.1) {
                Ok(address) => groups.entry(address.clone()).or_default().push(key.clone()),
                Err(code) => drop(found.insert(key.clone(), PartitionProducers::of_code(code))),
            }
        }
        let left = self.patience().saturating_sub(SystemClock.now().since(started));
        let asking = groups.iter().map(|(address, keys)| self.open_within(left, address, keys));
        found.extend(join_all(asking).await.into_iter().flatten());
        if found
            .values()
            .any(|found| matches!(found, PartitionProducers::Unknown(_) | PartitionProducers::Gone))
        {
            self.doubt_metadata(&metadata);
        }
        Ok(found)
    }

    /// As long as one request may take is too long for an audit, which is repeated.
    async fn open_within(
        &self,
        limit: Duration,
        address: &BrokerAddress,
        keys: &[(String, i32)],
    ) -> Vec<((String, i32), PartitionProducers)> {
        timeout(limit, self.open_at(address, keys)).await.unwrap_or_else(|_| {
            let silent = format!("broker {address} does not answer in time");
            keys.iter().map(|key| (key.clone(), PartitionProducers::Unknown(silent.clone()))).collect()
        })
    }

    async fn open_at(
        &self,
        address: &BrokerAddress,
        keys: &[(String, i32)],
    ) -> Vec<((String, i32), PartitionProducers)> {
        let topics = by_topic(keys).into_iter().map(|(topic, partitions)| {
            TopicRequest::default().with_name(topic_name(topic)).with_partition_indexes(partitions)
        });
        let request = DescribeProducersRequest::default().with_topics(topics.collect());
        let mut found: BTreeMap<_, _> = match self.ask(address, &request, DESCRIBE_PRODUCERS_VERSION).await {
            Ok(answer) => {
                let partitions = answer.topics.iter().flat_map(|topic| {
                    let of = |partition: &PartitionResponse| {
                        let key = (topic.name.as_str().to_owned(), partition.partition_index);
                        (key, PartitionProducers::read(partition))
                    };
                    topic.partitions.iter().map(of)
                });
                partitions.collect()
            }
            Err(Failure::Retry(error) | Failure::Stop(error)) => {
                let unknown = PartitionProducers::Unknown(error.to_string());
                keys.iter().map(|key| (key.clone(), unknown.clone())).collect()
            }
        };
        let silent =
            || PartitionProducers::Unknown(format!("broker {address} has left it out of its answer"));
        keys.iter().map(|key| (key.clone(), found.remove(key).unwrap_or_else(silent))).collect()
    }
}

impl PartitionProducers {
    fn of_code(code: KafkaCode) -> Self {
        match code {
            KafkaCode::UNKNOWN_TOPIC_OR_PARTITION => Self::Gone,
            code => {
                let why = code.into_error("ask for its producers").to_string();
                if code.is_refusal() { Self::Refused(why) } else { Self::Unknown(why) }
            }
        }
    }

    fn read(partition: &PartitionResponse) -> Self {
        match KafkaCode(partition.error_code) {
            KafkaCode::NONE => {
                let open = partition.active_producers.iter().filter_map(|producer| {
                    let epoch = i16::try_from(producer.producer_epoch).ok()?;
                    let id = producer.producer_id.0;
                    let offset = Some(producer.current_txn_start_offset).filter(|&offset| offset >= 0)?;
                    Some(OpenTransaction { producer: ProducerIdentity { id, epoch }, offset })
                });
                Self::Open(open.collect())
            }
            code => Self::of_code(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(id: i64, epoch: i16, offset: i64) -> OpenTransaction {
        OpenTransaction { producer: ProducerIdentity { id, epoch }, offset }
    }

    #[test]
    fn a_missing_right_is_told_apart_from_what_passes() {
        let refused = PartitionProducers::of_code(KafkaCode::TOPIC_AUTHORIZATION_FAILED);
        assert!(matches!(refused, PartitionProducers::Refused(why) if why.contains("READ")));
        let moved = PartitionProducers::of_code(KafkaCode::NOT_LEADER_OR_FOLLOWER);
        assert!(matches!(moved, PartitionProducers::Unknown(_)));
    }

    #[test]
    fn readers_are_held_for_good_by_a_transaction_that_is_over_before_their_record() {
        let mut ended = EndedProducers::default();
        ended.add(ProducerIdentity { id: 7, epoch: 3 });
        ended.add(ProducerIdentity { id: 7, epoch: 2 });
        for (open, is_held) in [
            (vec![], false),
            (vec![open(7, 3, 10)], true),
            (vec![open(7, 2, 9)], true),
            (vec![open(7, 3, 11)], false),
            (vec![open(7, 4, 10)], false),
            (vec![open(8, 0, 2)], false),
            (vec![open(8, 0, 2), open(7, 3, 4)], true),
        ] {
            assert_eq!(is_held_for_good(&open, 10, &ended), is_held, "{open:?}");
        }
    }
}
