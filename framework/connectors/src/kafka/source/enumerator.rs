//! Finds partitions and decides where they are read from and where they end.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use flott_core::{
    Error, ErrorKind, Result,
    source::{Discovery, SplitEnumerator},
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    types::RDKafkaErrorCode,
};

use super::{
    BoundedAt, OffsetReset, StartOffsets,
    settings::SourceSettings,
    split::{BEGINNING, PartitionSplit},
    topic_identity,
};
use crate::kafka::failure::{code_failure, failure};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A topic that was just made is not known to all brokers at once.
const UNKNOWN_TOPIC_PATIENCE: u32 = 10;
const UNKNOWN_TOPIC_PAUSE: Duration = Duration::from_millis(200);

pub(super) struct KafkaEnumerator {
    settings: SourceSettings,
    config: ClientConfig,
    consumer: Option<BaseConsumer>,
    /// Id of the topic, once brokers have told it.
    topic_id: Option<u128>,
}

/// First and last offsets by partition.
struct Bounds(BTreeMap<i32, (i64, i64)>);

impl KafkaEnumerator {
    pub(super) fn new(settings: SourceSettings) -> Result<Self> {
        let config = settings.enumerator_config()?;
        Ok(Self { settings, config, consumer: None, topic_id: None })
    }

    fn what(&self) -> String {
        format!("Kafka topic {} at {}", self.settings.topic, self.settings.properties.brokers())
    }

    fn consumer(&mut self) -> Result<&BaseConsumer> {
        if self.consumer.is_none() {
            let consumer = self.config.create().map_err(|error| failure(self.what(), &error))?;
            self.consumer = Some(consumer);
        }
        Ok(self.consumer.as_ref().expect("was made above"))
    }

    fn partitions(&mut self) -> Result<Vec<i32>> {
        let (topic, what) = (self.settings.topic.clone(), self.what());
        let consumer = self.consumer()?;
        let mut attempt = 0;
        loop {
            let metadata = consumer.fetch_metadata(Some(&topic), REQUEST_TIMEOUT);
            let metadata = metadata.map_err(|error| failure(&what, &error))?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let refusal = match found.map(|found| (found.error(), found.partitions())) {
                Some((None, partitions)) if !partitions.is_empty() => {
                    return Ok(partitions.iter().map(|partition| partition.id()).collect());
                }
                Some((Some(error), _)) => RDKafkaErrorCode::from(error),
                _ => RDKafkaErrorCode::UnknownTopicOrPartition,
            };
            attempt += 1;
            let is_unknown = refusal == RDKafkaErrorCode::UnknownTopicOrPartition;
            if !is_unknown || attempt == UNKNOWN_TOPIC_PATIENCE {
                return Err(code_failure(&what, refusal, &refusal.to_string()));
            }
            // Also serves the client's events in the meantime.
            consumer.poll(UNKNOWN_TOPIC_PAUSE);
        }
    }

    /// Finds out when the topic becomes another one. Where our own client cannot be used, for example with Kerberos, nobody knows.
    fn check_topic_id(&mut self) -> Result<()> {
        match topic_identity::topic_id(&self.settings, REQUEST_TIMEOUT) {
            Ok(found) => {
                topic_identity::check(&self.settings.topic, self.topic_id, found)?;
                self.topic_id = found.or(self.topic_id);
            }
            Err(error) => {
                tracing::debug!(topic = %self.settings.topic, %error, "the topic's id is not known")
            }
        }
        Ok(())
    }

    fn bounds(&mut self, partitions: &[i32]) -> Result<Bounds> {
        let (topic, what) = (self.settings.topic.clone(), self.what());
        let consumer = self.consumer()?;
        let bounds = partitions.iter().map(|&partition| {
            let bounds = consumer.fetch_watermarks(&topic, partition, REQUEST_TIMEOUT);
            bounds.map(|bounds| (partition, bounds)).map_err(|error| failure(&what, &error))
        });
        bounds.collect::<Result<_>>().map(Bounds)
    }

    fn offsets_at(&mut self, partitions: &[i32], millis: i64) -> Result<BTreeMap<i32, Option<i64>>> {
        let list = self.list(partitions, Offset::Offset(millis))?;
        let what = self.what();
        let found = self.consumer()?.offsets_for_times(list, REQUEST_TIMEOUT);
        read_offsets(&what, &found.map_err(|error| failure(&what, &error))?)
    }

    fn committed(&mut self, partitions: &[i32]) -> Result<BTreeMap<i32, Option<i64>>> {
        let list = self.list(partitions, Offset::Invalid)?;
        let what = self.what();
        let found = self.consumer()?.committed_offsets(list, REQUEST_TIMEOUT);
        read_offsets(&what, &found.map_err(|error| failure(&what, &error))?)
    }

    fn list(&self, partitions: &[i32], offset: Offset) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            let added = list.add_partition_offset(&self.settings.topic, partition, offset);
            added.map_err(|error| failure(self.what(), &error))?;
        }
        Ok(list)
    }

    /// Where each partition is read from, the first time that the job looks.
    fn starts(&mut self, partitions: &[i32], bounds: &Bounds) -> Result<BTreeMap<i32, i64>> {
        let all = |offset: &dyn Fn(i32) -> i64| partitions.iter().map(|&p| (p, offset(p))).collect();
        Ok(match self.settings.start.clone() {
            StartOffsets::Earliest => all(&|partition| bounds.first(partition)),
            StartOffsets::Latest => all(&|partition| bounds.end(partition)),
            StartOffsets::Timestamp(millis) => {
                let found = self.offsets_at(partitions, millis)?;
                all(&|partition| found.get(&partition).copied().flatten().unwrap_or(bounds.end(partition)))
            }
            StartOffsets::Explicit(offsets) => {
                self.check_known(partitions, &offsets)?;
                all(&|partition| offsets.get(&partition).copied().unwrap_or(bounds.first(partition)))
            }
            StartOffsets::Committed { group, or } => {
                let found = self.committed(partitions)?;
                let missing =
                    partitions.iter().find(|partition| found.get(partition).copied().flatten().is_none());
                if let (Some(partition), OffsetReset::Fail) = (missing, or) {
                    let text = format!(
                        "{}: group {group} has committed no offset for partition {partition}; \
                         choose another start, or say where to start then",
                        self.what()
                    );
                    return Err(Error::new(ErrorKind::Settings, text));
                }
                let other = |partition| match or {
                    OffsetReset::Latest => bounds.end(partition),
                    OffsetReset::Fail | OffsetReset::Earliest => bounds.first(partition),
                };
                all(&|partition| found.get(&partition).copied().flatten().unwrap_or_else(|| other(partition)))
            }
        })
    }

    /// Where each partition ends; partitions without an entry are not read.
    fn stops(&mut self, partitions: &[i32], bounds: &Bounds) -> Result<Option<BTreeMap<i32, i64>>> {
        let Some(at) = self.settings.bounded.clone() else { return Ok(None) };
        let all = |offset: &dyn Fn(i32) -> i64| partitions.iter().map(|&p| (p, offset(p))).collect();
        Ok(Some(match at {
            BoundedAt::Latest => all(&|partition| bounds.end(partition)),
            BoundedAt::Timestamp(millis) => {
                let found = self.offsets_at(partitions, millis)?;
                all(&|partition| found.get(&partition).copied().flatten().unwrap_or(bounds.end(partition)))
            }
            BoundedAt::Explicit(offsets) => {
                self.check_known(partitions, &offsets)?;
                offsets
            }
        }))
    }

    fn check_known(&self, partitions: &[i32], offsets: &BTreeMap<i32, i64>) -> Result<()> {
        let odd = offsets.iter().find(|(partition, offset)| !partitions.contains(partition) || **offset < 0);
        odd.map_or(Ok(()), |(partition, offset)| {
            let count = partitions.len();
            let text = format!(
                "{}: offset {offset} of partition {partition} was asked for; the topic has {count} partitions, \
                 offsets are not negative",
                self.what()
            );
            Err(Error::new(ErrorKind::Settings, text))
        })
    }

    fn first_splits(&mut self, partitions: &[i32]) -> Result<Vec<PartitionSplit>> {
        let bounds = self.bounds(partitions)?;
        let starts = self.starts(partitions, &bounds)?;
        let stops = self.stops(partitions, &bounds)?;
        let topic = &self.settings.topic;
        let splits = starts.into_iter().filter_map(|(partition, next)| {
            let stop = match &stops {
                None => None,
                Some(stops) => Some(*stops.get(&partition)?),
            };
            // Until the job has read something, "from the beginning" survives that the beginning moves.
            let is_beginning = stop.is_none() && self.settings.start == StartOffsets::Earliest;
            let next = if is_beginning { BEGINNING } else { next };
            Some(PartitionSplit { topic: topic.clone(), partition, next, stop, topic_id: self.topic_id })
        });
        Ok(splits.collect())
    }
}

impl SplitEnumerator for KafkaEnumerator {
    fn discover(&mut self, known: &BTreeSet<String>, is_first: bool) -> Result<Discovery> {
        let discovered = self.look(known, is_first);
        if discovered.is_err() {
            // A client that was once told of no broker asks none of them ever again.
            self.consumer = None;
        }
        discovered
    }

    fn discovery_interval(&self) -> Option<Duration> {
        self.settings.discovery_interval.filter(|_| self.settings.bounded.is_none())
    }
}

impl KafkaEnumerator {
    fn look(&mut self, known: &BTreeSet<String>, is_first: bool) -> Result<Discovery> {
        let is_bounded = self.settings.bounded.is_some();
        if is_bounded && !is_first {
            return Ok(Discovery { splits: Vec::new(), is_complete: true });
        }
        let topic = self.settings.topic.clone();
        let mut partitions = self.partitions()?;
        self.check_topic_id()?;
        partitions.sort_unstable();
        partitions.retain(|&partition| !known.contains(&PartitionSplit::id(&topic, partition)));
        let splits = if partitions.is_empty() {
            Vec::new()
        } else if is_first {
            self.first_splits(&partitions)?
        } else {
            let topic_id = self.topic_id;
            let split = |partition| {
                let topic = topic.clone();
                PartitionSplit { topic, partition, next: BEGINNING, stop: None, topic_id }
            };
            partitions.into_iter().map(split).collect()
        };
        let is_complete = is_bounded || self.settings.discovery_interval.is_none();
        Ok(Discovery { splits: splits.iter().map(PartitionSplit::encode).collect(), is_complete })
    }
}

impl Bounds {
    fn first(&self, partition: i32) -> i64 {
        self.0.get(&partition).map_or(0, |bounds| bounds.0.max(0))
    }

    fn end(&self, partition: i32) -> i64 {
        self.0.get(&partition).map_or(0, |bounds| bounds.1.max(0))
    }
}

fn read_offsets(what: &str, list: &TopicPartitionList) -> Result<BTreeMap<i32, Option<i64>>> {
    let read = list.elements().into_iter().map(|element| {
        element.error().map_err(|error| failure(what, &error))?;
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        Ok((element.partition(), offset))
    });
    read.collect()
}
