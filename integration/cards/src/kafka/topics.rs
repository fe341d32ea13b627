use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use futures::executor::block_on;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};

use crate::{
    answers::Output,
    error::{Error, Result, Trying},
};

/// Kafka's own sign for the brokers' default.
const BROKER_DEFAULT: TopicReplication<'static> = TopicReplication::Fixed(-1);
const PATIENCE: Duration = Duration::from_secs(30);

/// The topics of one run: their names begin with a prefix of its own.
#[derive(Clone, Debug)]
pub struct Topics {
    bootstrap: String,
    prefix: String,
}

impl Topics {
    /// The topics that begin with a prefix.
    #[must_use]
    pub fn new(bootstrap: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self { bootstrap: bootstrap.into(), prefix: prefix.into() }
    }

    /// Topics under a prefix that nobody else uses: it begins with `name`.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a name, nothing is decided by it")]
    pub fn unique(bootstrap: impl Into<String>, name: &str) -> Self {
        let random = RandomState::new().hash_one(std::process::id());
        Self::new(bootstrap, format!("{name}-{random:016x}-"))
    }

    /// Addresses of the brokers, separated by commas.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// What all names begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Name of the input topic.
    #[must_use]
    pub fn payments(&self) -> String {
        format!("{}payments", self.prefix)
    }

    /// Name of an output topic.
    #[must_use]
    pub fn output(&self, output: Output) -> String {
        format!("{}{}", self.prefix, output.name())
    }

    fn all(&self) -> Vec<String> {
        let outputs = Output::ALL.into_iter().map(|output| self.output(output));
        outputs.chain([self.payments()]).collect()
    }

    /// Creates all topics with so many partitions each, replicated as the brokers do it by default.
    ///
    /// # Errors
    /// When a topic is there already, or Kafka refuses.
    pub fn create(&self, partitions: i32) -> Result<()> {
        let names = self.all();
        let topics: Vec<_> =
            names.iter().map(|name| NewTopic::new(name, partitions, BROKER_DEFAULT)).collect();
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let created = block_on(self.admin()?.create_topics(&topics, &options));
        for result in created.trying(|| "cannot create topics".to_owned())? {
            result.map_err(|(topic, code)| {
                Error::Unexpected(format!("kafka: cannot create topic {topic}: {code}"))
            })?;
        }
        Ok(())
    }

    /// Deletes all topics that are there.
    ///
    /// # Errors
    /// When Kafka cannot be reached.
    pub fn delete(&self) -> Result<()> {
        let names = self.all();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        block_on(self.admin()?.delete_topics(&names, &AdminOptions::new()))
            .trying(|| "cannot delete topics".to_owned())?;
        Ok(())
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        let mut config = ClientConfig::new();
        let admin = config.set("bootstrap.servers", &self.bootstrap).create();
        admin.trying(|| "cannot make an admin client".to_owned())
    }

    /// Watches how much is written to an output.
    ///
    /// # Errors
    /// When Kafka cannot be reached.
    pub fn watch(&self, output: Output) -> Result<Watch> {
        let topic = self.output(output);
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("isolation.level", "read_uncommitted")
            .create()
            .trying(|| "cannot make a consumer".to_owned())?;
        let partitions = partitions(&consumer, &topic)?;
        Ok(Watch { consumer, topic, partitions })
    }
}

/// Looks at the end offsets of a topic.
pub struct Watch {
    consumer: BaseConsumer,
    topic: String,
    partitions: Vec<i32>,
}

impl Watch {
    /// Sum of the end offsets: counts records, committed or not, and the markers of transactions.
    ///
    /// # Errors
    /// When Kafka cannot be reached.
    pub fn offsets(&self) -> Result<u64> {
        let mut sum = 0;
        for &partition in &self.partitions {
            let (_, end) = self
                .consumer
                .fetch_watermarks(&self.topic, partition, PATIENCE)
                .trying(|| format!("cannot ask for the end of {}", self.topic))?;
            sum += end.unsigned_abs();
        }
        Ok(sum)
    }
}

/// The partitions of a topic.
pub(super) fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>> {
    let metadata =
        consumer.fetch_metadata(Some(topic), PATIENCE).trying(|| format!("cannot find topic {topic}"))?;
    let topics = metadata.topics().iter();
    let partitions: Vec<i32> =
        topics.flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
    if partitions.is_empty() {
        return Err(Error::Unexpected(format!("kafka: there is no topic {topic}")));
    }
    Ok(partitions)
}
