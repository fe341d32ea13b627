use std::{cell::Cell, collections::BTreeMap, fs, path::PathBuf};

use flott::connectors::kafka::client::{ClientSettings, KafkaClient, TransactionDescription};
use flott_cards::{
    Comparison, Output, PaymentGenerator, Rule,
    kafka::{Feeder, Topics, read_answers, read_reference},
    process::{Cluster, ClusterSpec, JobProcess},
};

use crate::{binary::card_alerts, said::KeepsWhatWasSaid, waiting::wait_until};

const SEED: u64 = 3;

/// Topics of a test, with payments in the first of them, and a directory for the processes of the job.
pub struct KafkaStage {
    /// The topics.
    pub topics: Topics,
    /// The directory of the processes.
    pub directory: KeepsWhatWasSaid,
    brokers: String,
    fed: Cell<u64>,
    clusters: Cell<u32>,
}

impl KafkaStage {
    /// Topics of so many partitions each, whose names begin with `name`.
    pub fn with_partitions(bootstrap: &str, name: &str, partitions: i32) -> Self {
        let topics = Topics::unique(bootstrap, name);
        topics.create(partitions).unwrap();
        let (directory, brokers) = (KeepsWhatWasSaid::new(), bootstrap.to_owned());
        Self { topics, directory, brokers, fed: Cell::default(), clusters: Cell::default() }
    }

    /// Topics of four partitions each, whose names begin with `name`.
    pub fn new(bootstrap: &str, name: &str) -> Self {
        Self::with_partitions(bootstrap, name, 4)
    }

    /// Tells the job of these brokers only. By default it is told of those that the test uses itself.
    #[must_use]
    pub fn tell_of(mut self, brokers: &str) -> Self {
        brokers.clone_into(&mut self.brokers);
        self
    }

    /// Feeds the first so many payments.
    #[must_use]
    pub fn feed(self, payments: u64) -> Self {
        self.feed_range(0, payments);
        self
    }

    /// Feeds the payments of these numbers.
    pub fn feed_range(&self, from: u64, to: u64) {
        let generator = PaymentGenerator::new(SEED);
        let mut feeder = Feeder::new(self.topics.bootstrap(), self.topics.payments()).unwrap();
        (from..to).for_each(|n| feeder.send(&generator.payment(n)).unwrap());
        feeder.flush().unwrap();
        self.fed.set(to);
    }

    /// Settings and parameters of the job; a checkpoint every 300 ms unless the settings say otherwise.
    pub fn arguments(&self, settings: &[&str]) -> Vec<String> {
        let parameters = ["--brokers", &self.brokers, "--prefix", self.topics.prefix()];
        let interval = ["--checkpoint-interval", "300ms"];
        let fixed = if settings.contains(&interval[0]) { &[][..] } else { &interval };
        fixed.iter().chain(settings).chain(&parameters).map(|&flag| flag.to_owned()).collect()
    }

    /// A JobManager and so many TaskManagers. All clusters of a stage share the checkpoint directory.
    pub fn cluster(&self, taskmanagers: usize, settings: &[&str]) -> Cluster {
        self.clusters.set(self.clusters.get() + 1);
        let directory = self.directory.path().join(format!("cluster-{}", self.clusters.get()));
        fs::create_dir_all(&directory).unwrap();
        fs::create_dir_all(self.checkpoints()).unwrap();
        std::os::unix::fs::symlink(self.checkpoints(), directory.join("checkpoints")).unwrap();
        let arguments = self.arguments(settings);
        let spec = ClusterSpec { binary: card_alerts().to_owned(), directory, arguments, secret_file: None };
        Cluster::start(spec, taskmanagers).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A local run.
    pub fn local(&self, name: &str, settings: &[&str]) -> JobProcess {
        let arguments = self.arguments(settings);
        JobProcess::start(card_alerts(), self.directory.path(), name, arguments).unwrap()
    }

    /// The directory of the checkpoints of clusters.
    pub fn checkpoints(&self) -> PathBuf {
        self.directory.path().join("checkpoints")
    }

    /// Waits until this share of the totals of all payments is written, committed or not.
    pub fn reach(&self, share: f64) {
        let (watch, payments) = (self.topics.watch(Output::Totals).unwrap(), self.fed.get() as f64);
        let what = format!("{share} of all totals");
        wait_until(&what, || watch.offsets().unwrap() as f64 >= share * payments);
    }

    /// The descriptions that the brokers give of transactional ids.
    pub fn describe(&self, ids: &[String]) -> BTreeMap<String, Option<TransactionDescription>> {
        let properties =
            BTreeMap::from([("bootstrap.servers".to_owned(), self.topics.bootstrap().to_owned())]);
        let client = KafkaClient::new(ClientSettings::from_properties(&properties).unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(client.describe_transactions(ids)).unwrap()
    }

    /// The differences between the visible answers and the right ones.
    pub fn comparison(&self) -> Comparison {
        let expected = read_reference(&self.topics, Rule::default()).unwrap();
        Comparison::new(&expected, &read_answers(&self.topics).unwrap())
    }

    /// Makes sure that every answer is visible exactly once, and nothing else.
    pub fn assert_right(&self) {
        let comparison = self.comparison();
        assert!(comparison.is_equal(), "{comparison}");
    }
}
