//! Where payments come from and answers go: what differs between Kafka and an embedded run.

use std::path::Path;

use flott_cards::{
    Answers, Output, PaymentGenerator, Reference, Rule, files,
    kafka::{self, Feeder, Topics, Watch},
};
use tempfile::TempDir;

use crate::{
    error::Result,
    show::{self, Meter, grouped},
};

pub(crate) trait Stage {
    /// Its name in the verdict.
    fn transport(&self) -> &'static str;

    /// Number of payments.
    fn records(&self) -> u64;

    /// Makes the input ready and returns the right answers to it.
    fn prepare(&mut self) -> Result<Answers>;

    /// Flags for the JobManager.
    fn arguments(&self) -> Vec<String>;

    /// How much has been written to `totals`, and how much that will be if nothing is written twice.
    fn progress(&self) -> Result<(u64, u64)>;

    /// The answers, when the job has finished.
    fn answers(&self) -> Result<Answers>;

    /// Removes what was made.
    fn clean_up(&mut self) -> Result<()>;
}

/// Topics of a real Kafka.
pub(crate) struct Kafka {
    topics: Topics,
    partitions: i32,
    seed: u64,
    records: u64,
    totals: Option<Watch>,
}

impl Kafka {
    pub(crate) fn new(bootstrap: &str, partitions: i32, seed: u64, records: u64) -> Result<Self> {
        let topics = Topics::unique(bootstrap, "demo");
        Ok(Self { topics, partitions, seed, records, totals: None })
    }
}

impl Stage for Kafka {
    fn transport(&self) -> &'static str {
        "kafka"
    }

    fn records(&self) -> u64 {
        self.records
    }

    fn prepare(&mut self) -> Result<Answers> {
        self.topics.create(self.partitions)?;
        self.totals = Some(self.topics.watch(Output::Totals)?);
        show::step(&format!("feeding {} payments into {}", grouped(self.records), self.topics.payments()));
        let mut feeder = Feeder::new(self.topics.bootstrap(), self.topics.payments())?;
        let mut meter = Meter::new("fed", self.records);
        let generator = PaymentGenerator::new(self.seed);
        for n in 0..self.records {
            feeder.send(&generator.payment(n))?;
            if n.is_multiple_of(10_000) {
                meter.show(n);
            }
        }
        feeder.flush()?;
        show::step("reading them back and computing the right answers");
        Ok(kafka::read_reference(&self.topics, Rule::default())?)
    }

    fn arguments(&self) -> Vec<String> {
        let flags = ["--bounded", "--brokers", self.topics.bootstrap(), "--prefix", self.topics.prefix()];
        flags.map(str::to_owned).into()
    }

    fn progress(&self) -> Result<(u64, u64)> {
        let written = self.totals.as_ref().map_or(Ok(0), Watch::offsets)?;
        Ok((written, self.records))
    }

    fn answers(&self) -> Result<Answers> {
        Ok(kafka::read_answers(&self.topics)?)
    }

    fn clean_up(&mut self) -> Result<()> {
        self.totals = None;
        Ok(self.topics.delete()?)
    }
}

/// A generator inside the job, and files.
pub(crate) struct Embedded {
    directory: TempDir,
    seed: u64,
    records: u64,
    bytes_expected: u64,
}

impl Embedded {
    pub(crate) fn new(seed: u64, records: u64) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("flott-demo-output-").tempdir()?;
        Ok(Self { directory, seed, records, bytes_expected: 0 })
    }

    fn output(&self) -> &Path {
        self.directory.path()
    }
}

impl Stage for Embedded {
    fn transport(&self) -> &'static str {
        "embedded"
    }

    fn records(&self) -> u64 {
        self.records
    }

    fn prepare(&mut self) -> Result<Answers> {
        show::step(&format!("computing the right answers to {} generated payments", grouped(self.records)));
        let generator = PaymentGenerator::new(self.seed);
        let answers =
            Reference::answers_to(Rule::default(), (0..self.records).map(|n| generator.payment(n)))?;
        self.bytes_expected = answers.totals.iter().map(flott_cards::Total::line_bytes).sum();
        Ok(answers)
    }

    fn arguments(&self) -> Vec<String> {
        let (records, seed) = (self.records.to_string(), self.seed.to_string());
        let output = self.output().display().to_string();
        let flags = ["--embedded", "--generate", &records, "--seed", &seed, "--output", &output];
        // A generator is so fast that a second between checkpoints would be half of the run.
        flags.into_iter().chain(["--checkpoint-interval", "200ms"]).map(str::to_owned).collect()
    }

    fn progress(&self) -> Result<(u64, u64)> {
        Ok((files::bytes_written(self.output(), Output::Totals), self.bytes_expected))
    }

    fn answers(&self) -> Result<Answers> {
        Ok(files::read_answers(self.output())?)
    }

    fn clean_up(&mut self) -> Result<()> {
        Ok(())
    }
}
