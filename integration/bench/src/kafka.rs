//! The workloads between topics of a real Kafka, which shares the cores with what is measured.
//!
//! Time is that of the whole process, with its connections and its last commit; what was written is read back.

use std::path::PathBuf;

use card_alerts::PaymentGenerator;
use flott_cards::{
    Output,
    kafka::{Feeder, Topics, read_topic},
};
use rdkafka::Message as _;
use serde::{Deserialize, Serialize};
use xtask::{
    job,
    kafka::{KafkaBroker, availability},
};

use crate::{
    error::{Error, Result},
    measure::now_ns,
    process::{self, Child},
    run::{Outcome, Processes, Spec},
    workload::Workload,
};

/// Partitions of every topic.
pub(crate) const PARTITIONS: i32 = 4;

const SEED: u64 = 42;

/// From where to where.
#[derive(clap::Args, Serialize, Deserialize, Clone, Debug)]
pub(crate) struct Route {
    /// Kafka brokers
    #[arg(long, default_value = "")]
    pub(crate) brokers: String,
    /// Topic to read
    #[arg(long, default_value = "")]
    pub(crate) input: String,
    /// Topic to write, or what the names of several begin with
    #[arg(long, default_value = "")]
    pub(crate) output: String,
}

/// A broker, and the topic that has been fed.
pub(crate) struct Kafka {
    broker: KafkaBroker,
    fed: Option<Topics>,
    card_alerts: Option<PathBuf>,
}

impl Kafka {
    /// Starts an empty broker.
    pub(crate) fn start() -> Result<Self> {
        let libraries = availability().libraries().map_err(|reason| Error::Missing(reason.into()))?;
        eprintln!("starting a Kafka broker");
        // What is measured must not starve the broker, which stays in our session.
        process::isolate_session();
        let broker = KafkaBroker::start_temporary(libraries)?;
        Ok(Self { broker, fed: None, card_alerts: None })
    }

    /// Runs a workload between topics of its own.
    pub(crate) fn run(&mut self, spec: &Spec) -> Result<Outcome> {
        let topics = Topics::unique(self.broker.bootstrap(), "bench");
        topics.create(PARTITIONS)?;
        let (input, outputs) = match spec.workload {
            Workload::CardAlerts => {
                feed(&topics, spec.records)?;
                (topics.payments(), Output::ALL.map(|output| topics.output(output)).to_vec())
            }
            _ => (self.fed(spec.records)?, vec![topics.output(Output::Totals)]),
        };
        let route = match spec.workload {
            Workload::CardAlerts => topics.prefix().to_owned(),
            _ => outputs[0].clone(),
        };
        let mut processes = Processes::new(spec.cores)?;
        let (child, arguments) = self.command(spec, &processes, &input, &route)?;
        let started_ns = now_ns();
        processes.start(child, &arguments)?;
        let mut outcome = processes.watch(started_ns)?;
        for output in outputs {
            read_topic(self.broker.bootstrap(), &output, |message| {
                outcome.records += 1;
                let text = message.payload().unwrap_or_default();
                outcome.checksum = outcome.checksum.wrapping_add(flott::hash::bytes(text));
                Ok(())
            })?;
        }
        topics.delete()?;
        Ok(outcome)
    }

    /// A topic with so many payments, for all runs that only read it.
    fn fed(&mut self, records: u64) -> Result<String> {
        let topics = match &self.fed {
            Some(topics) => topics.clone(),
            None => {
                let topics = Topics::unique(self.broker.bootstrap(), "bench-input");
                topics.create(PARTITIONS)?;
                feed(&topics, records)?;
                topics
            }
        };
        let name = topics.payments();
        self.fed = Some(topics);
        Ok(name)
    }

    fn command(
        &mut self,
        spec: &Spec,
        processes: &Processes,
        input: &str,
        output: &str,
    ) -> Result<(Child, Vec<String>)> {
        let brokers = self.broker.bootstrap().to_owned();
        let route = ["--brokers", &brokers, "--input", input, "--output", output].map(String::from);
        if !spec.engine.is_flott() {
            let mut arguments = spec.work();
            let engine =
                ["--cores", &spec.cores.to_string(), "--engine", spec.engine.name()].map(String::from);
            arguments.extend(engine.into_iter().chain(route));
            return Ok((Child::Hand, arguments));
        }
        if spec.workload != Workload::CardAlerts {
            let mut arguments = spec.job_arguments(processes);
            arguments.extend(route);
            return Ok((Child::Job, arguments));
        }
        let checkpoints = format!("file://{}", processes.directory().join("checkpoints").display());
        let arguments = [
            &self.card_alerts()?,
            "--bounded",
            "--brokers",
            &brokers,
            "--prefix",
            output,
            "--parallelism",
            &spec.cores.to_string(),
            "--checkpoint-dir",
            &checkpoints,
            "--checkpoint-interval",
            "1s",
        ];
        Ok((Child::Program, arguments.map(String::from).into()))
    }

    /// The example's binary, built on first use as this one was built: for figures, or for a test.
    fn card_alerts(&mut self) -> Result<String> {
        let path = match self.card_alerts.take() {
            Some(path) => path,
            None if cfg!(debug_assertions) => job::for_tests(env!("CARGO_PKG_NAME"))?,
            None => job::release(env!("CARGO_PKG_NAME"))?,
        };
        let shown = path.display().to_string();
        self.card_alerts = Some(path);
        Ok(shown)
    }
}

fn feed(topics: &Topics, records: u64) -> Result<()> {
    eprintln!("feeding {records} payments");
    let generator = PaymentGenerator::new(SEED);
    let mut feeder = Feeder::new(topics.bootstrap(), topics.payments())?;
    (0..records).try_for_each(|n| feeder.send(&generator.payment(n)))?;
    Ok(feeder.flush()?)
}
