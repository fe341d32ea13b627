//! Brokers, topics, partitions, and broker settings.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use flott_core::{Error, Result};
use kafka_protocol::{
    messages::{
        DescribeConfigsRequest, MetadataRequest, MetadataResponse, TopicName,
        describe_configs_request::DescribeConfigsResource, metadata_request::MetadataRequestTopic,
        metadata_response::MetadataResponseTopic,
    },
    protocol::StrBytes,
};

use super::{code::KafkaCode, connection::Failure, kafka_client::KafkaClient, settings::BrokerAddress};

/// The first versions that tell the ids of topics are 10 and later.
const METADATA_VERSION_MAX: i16 = 12;
const DESCRIBE_CONFIGS_VERSION_MAX: i16 = 4;
const BROKER_RESOURCE: i8 = 4;

/// The cluster as one broker saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterMetadata {
    /// Name of the cluster, the same on all brokers, kept for its life.
    pub cluster_id: Option<String>,
    /// Addresses by node id.
    pub brokers: BTreeMap<i32, BrokerAddress>,
    /// Topics by name: those asked for, whether they exist or not.
    pub topics: BTreeMap<String, TopicMetadata>,
    /// The broker that has told all this.
    teller: Option<BrokerAddress>,
}

/// A topic, or why it cannot be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// [`KafkaCode::NONE`], or the reason: unknown topic, missing permission.
    pub code: KafkaCode,
    /// Its id: a topic that was deleted and created again has another one. `None` where brokers do not tell.
    pub id: Option<u128>,
    /// By partition number.
    pub partitions: BTreeMap<i32, PartitionMetadata>,
}

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Node id of its leader; `None` while there is none.
    pub leader: Option<i32>,
}

impl KafkaClient {
    /// Describes the cluster and `topics`, or all topics. Never creates a topic.
    ///
    /// # Errors
    /// When no broker can be reached in time.
    pub async fn metadata(&self, topics: Option<&[&str]>) -> Result<ClusterMetadata> {
        let request = metadata_request(topics);
        self.persist("read metadata", || async {
            let (teller, answer) = self.ask_any(&request, METADATA_VERSION_MAX).await?;
            let metadata = ClusterMetadata { teller: Some(teller), ..ClusterMetadata::read(&answer)? };
            if metadata.brokers.is_empty() {
                return Err(Failure::Retry(Error::transient("the cluster lists no brokers yet")));
            }
            self.learn(metadata.brokers.values());
            Ok(metadata)
        })
        .await
    }

    /// A broker that these metadata name does not answer, or is not what they say.
    pub(super) fn doubt_metadata(&self, metadata: &ClusterMetadata) {
        if let Some(teller) = &metadata.teller {
            self.doubt(teller);
        }
    }

    /// The cluster's id.
    ///
    /// # Errors
    /// When no broker can be reached in time.
    pub async fn cluster_id(&self) -> Result<Option<String>> {
        Ok(self.metadata(Some(&[])).await?.cluster_id)
    }

    /// Settings of one of the brokers, by name. Empty when this user may not see them.
    ///
    /// # Errors
    /// When no broker can be reached in time.
    pub async fn broker_settings(&self, names: &[&'static str]) -> Result<BTreeMap<String, String>> {
        // Each attempt asks another broker, about itself: any may be away.
        let turn = AtomicUsize::new(0);
        self.persist("read broker settings", || async {
            let metadata = self.metadata(Some(&[])).await.map_err(Failure::Stop)?;
            let turn = turn.fetch_add(1, Ordering::Relaxed) % metadata.brokers.len();
            let (node, address) = metadata.brokers.iter().nth(turn).expect("metadata name a broker");
            let resource = DescribeConfigsResource::default()
                .with_resource_type(BROKER_RESOURCE)
                .with_resource_name(StrBytes::from_string(node.to_string()))
                .with_configuration_keys(Some(
                    names.iter().map(|&name| StrBytes::from_static_str(name)).collect(),
                ));
            let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
            let answer = self.ask(address, &request, DESCRIBE_CONFIGS_VERSION_MAX).await;
            let answer = answer.inspect_err(|_| self.doubt_metadata(&metadata))?;
            let settings = answer.results.iter().flat_map(|result| &result.configs).filter_map(|setting| {
                Some((setting.name.as_str().to_owned(), setting.value.as_ref()?.as_str().to_owned()))
            });
            Ok(settings.collect())
        })
        .await
    }

    /// The longest transaction timeout that the broker allows (`transaction.max.timeout.ms`), when it may be seen.
    ///
    /// # Errors
    /// When no broker can be reached in time.
    pub async fn transaction_timeout_max(&self) -> Result<Option<Duration>> {
        let name = "transaction.max.timeout.ms";
        let settings = self.broker_settings(&[name]).await?;
        Ok(settings.get(name).and_then(|value| value.parse().ok()).map(Duration::from_millis))
    }
}

impl ClusterMetadata {
    /// Where the leader of a partition listens.
    ///
    /// # Errors
    /// The reason: no such topic or partition, no permission, or no leader at present.
    pub(super) fn leader(&self, topic: &str, partition: i32) -> Result<&BrokerAddress, KafkaCode> {
        let topic = self.topics.get(topic).ok_or(KafkaCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if topic.code != KafkaCode::NONE {
            return Err(topic.code);
        }
        let partition = topic.partitions.get(&partition).ok_or(KafkaCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let leader = partition.leader.and_then(|node| self.brokers.get(&node));
        leader.ok_or(KafkaCode::LEADER_NOT_AVAILABLE)
    }

    fn read(answer: &MetadataResponse) -> Result<Self, Failure> {
        let mut brokers = BTreeMap::new();
        for broker in &answer.brokers {
            let port = u16::try_from(broker.port)
                .map_err(|_| Failure::Retry(Error::transient(format!("broker port {}", broker.port))))?;
            brokers.insert(broker.node_id.0, BrokerAddress { host: broker.host.as_str().into(), port });
        }
        let topics = answer.topics.iter().filter_map(|topic| {
            let name = topic.name.as_ref()?;
            Some((name.as_str().to_owned(), read_topic(topic)))
        });
        let cluster_id = answer.cluster_id.as_ref().map(|id| id.as_str().to_owned());
        Ok(Self { cluster_id, topics: topics.collect(), brokers, teller: None })
    }
}

fn metadata_request(topics: Option<&[&str]>) -> MetadataRequest {
    let topics = topics.map(|names| {
        let named = |&name: &&str| {
            MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))))
        };
        names.iter().map(named).collect()
    });
    MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false)
}

fn read_topic(topic: &MetadataResponseTopic) -> TopicMetadata {
    let partitions = topic.partitions.iter().map(|partition| {
        let leader = Some(partition.leader_id.0).filter(|&node| node >= 0);
        (partition.partition_index, PartitionMetadata { leader })
    });
    TopicMetadata {
        code: KafkaCode(topic.error_code),
        id: Some(topic.topic_id.as_u128()).filter(|&id| id != 0),
        partitions: partitions.collect(),
    }
}
