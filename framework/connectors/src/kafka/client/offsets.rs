//! Offsets: committed ones of groups, and the ends of partitions.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use flott_core::{Clock, Error, Result, SystemClock};
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
    insistence::Insistence,
    kafka_client::{CoordinatorKind, KafkaClient},
    metadata::ClusterMetadata,
    settings::BrokerAddress,
};

/// The version that has `require_stable` and still one group per request.
const OFFSET_FETCH_VERSION: i16 = 7;
const OFFSET_COMMIT_VERSION_MAX: i16 = 7;
const LIST_OFFSETS_VERSION_MAX: i16 = 6;
const LATEST: i64 = -1;
const READ_COMMITTED: i8 = 1;

/// After so long an offset is not stable for good. A group knows the end of a transaction a moment after its coordinator does,
/// unless the broker has left the marker out (KAFKA-20734).
const UNSTABLE_FOR: Duration = Duration::from_secs(10);
/// Topic in which groups keep their offsets.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// An offset that a group committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset.
    pub offset: i64,
    /// The text that was committed with it.
    pub metadata: String,
}

/// The committed offset of one partition, once no open transaction may hold a newer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StableOffset {
    /// None is committed.
    Absent,
    /// This one.
    Committed(CommittedOffset),
    /// The group still waits for the end of a transaction that should be over.
    Unstable {
        /// The partition of `__consumer_offsets` in which the group waits for it; `None` if brokers do not tell.
        place: Option<(String, i32)>,
    },
}

/// Contents of one answer about a group's offsets.
enum Fetched {
    Stable(BTreeMap<(String, i32), CommittedOffset>),
    Unstable(KafkaCode),
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
        let what = format!("read committed offsets of group {group}");
        self.persist(&what, || async {
            match self.fetch_offsets(group, partitions, is_stable, &what).await? {
                Fetched::Stable(committed) => Ok(committed),
                Fetched::Unstable(code) => Err(Failure::Retry(code.into_error(&what))),
            }
        })
        .await
    }

    /// The offset that `group` committed for a partition, when every transaction that may hold a newer commit should be over. Waits for
    /// [`StableOffset::Unstable`] as long as the end of one may still be on its way.
    ///
    /// # Errors
    /// When there is no answer in time, or the permission is missing.
    pub async fn stable_offset(&self, group: &str, key: &(String, i32)) -> Result<StableOffset> {
        let partitions = BTreeSet::from([key.clone()]);
        let what = format!("read the committed offset of group {group}");
        let unstable = Insistence::new(UNSTABLE_FOR);
        let found = self
            .persist(&what, || async {
                match self.fetch_offsets(group, &partitions, true, &what).await? {
                    Fetched::Stable(mut committed) => Ok(Some(committed.remove(key))),
                    Fetched::Unstable(_) if unstable.on_answer(SystemClock.now()) => Ok(None),
                    Fetched::Unstable(code) => Err(Failure::Retry(code.into_error(&what))),
                }
            })
            .await?;
        Ok(match found {
            Some(committed) => committed.map_or(StableOffset::Absent, StableOffset::Committed),
            None => StableOffset::Unstable { place: self.place_of_group(group).await },
        })
    }

    async fn fetch_offsets(
        &self,
        group: &str,
        partitions: &BTreeSet<(String, i32)>,
        is_stable: bool,
        what: &str,
    ) -> Result<Fetched, Failure> {
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
            .with_require_stable(is_stable)
            .with_topics(Some(fetch_topics(partitions)));
        let kind = CoordinatorKind::Group;
        let answer = self.ask_coordinator(kind, group, &request, OFFSET_FETCH_VERSION).await?;
        self.check_offset(group, KafkaCode(answer.error_code), what)?;
        let mut committed = BTreeMap::new();
        for topic in &answer.topics {
            for partition in &topic.partitions {
                let code = KafkaCode(partition.error_code);
                if code == KafkaCode::UNSTABLE_OFFSET_COMMIT {
                    return Ok(Fetched::Unstable(code));
                }
                self.check_offset(group, code, what)?;
                if partition.committed_offset >= 0 {
                    let metadata = partition.metadata.as_ref().map_or("", |text| text.as_str()).into();
                    let offset = CommittedOffset { offset: partition.committed_offset, metadata };
                    committed.insert((topic.name.as_str().to_owned(), partition.partition_index), offset);
                }
            }
        }
        Ok(Fetched::Stable(committed))
    }

    /// The partition in which a group's offsets are; `None` where this user may not see that topic.
    async fn place_of_group(&self, group: &str) -> Option<(String, i32)> {
        let metadata = self.metadata(Some(&[OFFSETS_TOPIC])).await.ok()?;
        let partitions = metadata.topics.get(OFFSETS_TOPIC)?.partitions.len();
        Some((OFFSETS_TOPIC.into(), partition_of_group(group, i32::try_from(partitions).ok()?)?))
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
        let topics: BTreeSet<_> = partitions.iter().map(|(topic, _)| topic.as_str()).collect();
        let topics: Vec<_> = topics.into_iter().collect();
        self.persist("list offsets", || async {
            let metadata = self.metadata(Some(&topics)).await.map_err(Failure::Stop)?;
            let offsets = self.end_offsets_by(&metadata, partitions).await;
            offsets.inspect_err(|_| self.doubt_metadata(&metadata))
        })
        .await
    }

    async fn end_offsets_by(
        &self,
        metadata: &ClusterMetadata,
        partitions: &BTreeSet<(String, i32)>,
    ) -> Result<BTreeMap<(String, i32), i64>, Failure> {
        let mut offsets = BTreeMap::new();
        for (address, partitions) in by_leader(metadata, partitions)? {
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
    }
}

fn by_leader(
    metadata: &ClusterMetadata,
    partitions: &BTreeSet<(String, i32)>,
) -> Result<HashMap<BrokerAddress, Vec<(String, i32)>>, Failure> {
    let mut groups: HashMap<_, Vec<_>> = HashMap::new();
    for key in partitions {
        match metadata.leader(&key.0, key.1) {
            Ok(address) => groups.entry(address.clone()).or_default().push(key.clone()),
            Err(code) => check_partition(key, code)?,
        }
    }
    Ok(groups)
}

/// As brokers reckon it: by Java's hash of the name, in UTF-16.
fn partition_of_group(group: &str, partitions: i32) -> Option<i32> {
    let hash = group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    positive.checked_rem(partitions)
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

pub(super) fn by_topic<'a>(
    partitions: impl IntoIterator<Item = &'a (String, i32)>,
) -> BTreeMap<&'a str, Vec<i32>> {
    let mut topics: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic.as_str()).or_default().push(*partition);
    }
    topics
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_partition_is_the_one_that_brokers_reckon() {
        // "polygenelubricants" has the hash that has no positive counterpart.
        for (group, expected) in
            [("", 0), ("a", 47), ("hello", 22), ("polygenelubricants", 0), ("p.a.g1.0.0", 33)]
        {
            assert_eq!(partition_of_group(group, 50), Some(expected), "{group}");
        }
        assert_eq!(partition_of_group("a", 0), None);
    }
}
