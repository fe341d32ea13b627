//! Offsets: committed ones of groups, and the ends of partitions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use flott_core::{Error, Result};
use kafka_protocol::{
    messages::{
        BrokerId, GroupId, ListOffsetsRequest, OffsetCommitRequest, OffsetFetchRequest, TopicName,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch_request::OffsetFetchRequestTopic,
    },
    protocol::StrBytes,
};

use super::{
    code::KafkaCode,
    connection::Failure,
    kafka_client::{CoordinatorKind, KafkaClient},
    settings::BrokerAddress,
};

/// The version that has `require_stable` and still one group per request.
const OFFSET_FETCH_VERSION: i16 = 7;
const OFFSET_COMMIT_VERSION_MAX: i16 = 7;
const LIST_OFFSETS_VERSION_MAX: i16 = 6;
const LATEST: i64 = -1;
const READ_COMMITTED: i8 = 1;

/// An offset that a group committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset.
    pub offset: i64,
    /// The text that was committed with it.
    pub metadata: String,
}

impl KafkaClient {
    /// What `group` committed for `partitions`; partitions without a committed offset are left out.
    ///
    /// With `is_stable` it waits until no open transaction holds a newer commit of these offsets; without, it gives
    /// what is committed now.
    ///
    /// # Errors
    /// When there is no answer in time, or the permission is missing.
    pub async fn committed_offsets(
        &self,
        group: &str,
        partitions: &BTreeSet<(String, i32)>,
        is_stable: bool,
    ) -> Result<BTreeMap<(String, i32), CommittedOffset>> {
        let kind = CoordinatorKind::Group;
        let what = format!("read committed offsets of group {group}");
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
            .with_require_stable(is_stable)
            .with_topics(Some(fetch_topics(partitions)));
        self.persist(&what, || async {
            let answer = self.ask_coordinator(kind, group, &request, OFFSET_FETCH_VERSION).await?;
            self.check_offset(group, KafkaCode(answer.error_code), &what)?;
            let mut committed = BTreeMap::new();
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    self.check_offset(group, KafkaCode(partition.error_code), &what)?;
                    if partition.committed_offset >= 0 {
                        let metadata = partition.metadata.as_ref().map_or("", |text| text.as_str()).into();
                        let offset = CommittedOffset { offset: partition.committed_offset, metadata };
                        committed.insert((topic.name.as_str().to_owned(), partition.partition_index), offset);
                    }
                }
            }
            Ok(committed)
        })
        .await
    }

    /// Commits an offset of one partition for `group`, which nobody consumes with.
    ///
    /// # Errors
    /// When there is no answer in time, or the permission is missing.
    pub async fn commit_offset(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
        committed: &CommittedOffset,
    ) -> Result<()> {
        let kind = CoordinatorKind::Group;
        let what = format!("commit an offset of group {group}");
        let metadata = StrBytes::from_string(committed.metadata.clone());
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(committed.offset)
            .with_committed_metadata(Some(metadata));
        let topic =
            OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        self.persist(&what, || async {
            let answer = self.ask_coordinator(kind, group, &request, OFFSET_COMMIT_VERSION_MAX).await?;
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                match KafkaCode(partition.error_code) {
                    KafkaCode::NONE => {}
                    // A topic that was just made is not known to all brokers at once.
                    code @ KafkaCode::UNKNOWN_TOPIC_OR_PARTITION => {
                        return Err(Failure::Retry(code.into_error(&what)));
                    }
                    code => {
                        self.check_coordinator(kind, group, code, &what)?;
                        return Err(Failure::Stop(code.into_error("OffsetCommit")));
                    }
                }
            }
            Ok(())
        })
        .await
    }

    fn check_offset(&self, group: &str, code: KafkaCode, what: &str) -> Result<(), Failure> {
        match code {
            KafkaCode::NONE | KafkaCode::UNKNOWN_TOPIC_OR_PARTITION => Ok(()),
            KafkaCode::UNSTABLE_OFFSET_COMMIT => Err(Failure::Retry(code.into_error(what))),
            code => {
                self.check_coordinator(CoordinatorKind::Group, group, code, what)?;
                Err(Failure::Stop(code.into_error("OffsetFetch")))
            }
        }
    }

    /// Where a `read_committed` reader would stop in each of `partitions`.
    ///
    /// # Errors
    /// When a partition does not exist, a leader cannot be reached in time, or the permission is missing.
    pub async fn end_offsets(
        &self,
        partitions: &BTreeSet<(String, i32)>,
    ) -> Result<BTreeMap<(String, i32), i64>> {
        self.persist("list offsets", || async {
            let mut offsets = BTreeMap::new();
            for (address, partitions) in self.by_leader(partitions).await? {
                let request = end_offsets_request(&partitions);
                let answer = self.ask(&address, &request, LIST_OFFSETS_VERSION_MAX).await?;
                for topic in &answer.topics {
                    for partition in &topic.partitions {
                        let key = (topic.name.as_str().to_owned(), partition.partition_index);
                        check_partition(&key, KafkaCode(partition.error_code))?;
                        offsets.insert(key, partition.offset);
                    }
                }
            }
            match partitions.iter().find(|key| !offsets.contains_key(*key)) {
                None => Ok(offsets),
                Some((topic, partition)) => Err(Failure::Retry(Error::transient(format!(
                    "no offset of {topic}/{partition} in the answer"
                )))),
            }
        })
        .await
    }

    async fn by_leader(
        &self,
        partitions: &BTreeSet<(String, i32)>,
    ) -> Result<HashMap<BrokerAddress, Vec<(String, i32)>>, Failure> {
        let topics: BTreeSet<_> = partitions.iter().map(|(topic, _)| topic.as_str()).collect();
        let topics: Vec<_> = topics.into_iter().collect();
        let metadata = self.metadata(Some(&topics)).await.map_err(Failure::Stop)?;
        let mut groups: HashMap<_, Vec<_>> = HashMap::new();
        for key in partitions {
            match metadata.leader(&key.0, key.1) {
                Ok(address) => groups.entry(address.clone()).or_default().push(key.clone()),
                Err(code) => check_partition(key, code)?,
            }
        }
        Ok(groups)
    }
}

/// Turns a moving leader into a retry, everything else but success into an error.
pub(super) fn check_partition((topic, partition): &(String, i32), code: KafkaCode) -> Result<(), Failure> {
    let what = format!("partition {topic}/{partition}");
    match code {
        KafkaCode::NONE => Ok(()),
        code if code.is_leader_move() => Err(Failure::Retry(code.into_error(&what))),
        code => Err(Failure::Stop(code.into_error(&what))),
    }
}

fn fetch_topics(partitions: &BTreeSet<(String, i32)>) -> Vec<OffsetFetchRequestTopic> {
    let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
        OffsetFetchRequestTopic::default().with_name(topic_name(topic)).with_partition_indexes(partitions)
    });
    topics.collect()
}

fn end_offsets_request(partitions: &[(String, i32)]) -> ListOffsetsRequest {
    let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
        let wanted = partitions.into_iter().map(|partition| {
            ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(LATEST)
        });
        ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(wanted.collect())
    });
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(READ_COMMITTED)
        .with_topics(topics.collect())
}

fn by_topic<'a>(partitions: impl IntoIterator<Item = &'a (String, i32)>) -> BTreeMap<&'a str, Vec<i32>> {
    let mut topics: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic.as_str()).or_default().push(*partition);
    }
    topics
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
