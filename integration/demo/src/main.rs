//! `cargo xtask demo`: the card-alerts job for real.
//!
//! Feeds payments, runs the job as a cluster of processes, kills one that works, and compares the answers with an
//! independent computation. Progress goes to standard error, the verdict is the last line on standard output.
#![forbid(unsafe_code)]

mod error;
mod scene;
mod show;
mod stage;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use error::Result;
use scene::Verdict;
use stage::{Embedded, Kafka, Stage};
use xtask::{
    clock::Stopwatch,
    job,
    kafka::{KafkaAvailability, KafkaBroker, availability},
};

/// Run the card-alerts job for real: Kafka, a cluster of processes, a kill -9, a comparison
#[derive(Parser)]
#[command(name = "cargo xtask demo", bin_name = "cargo xtask demo", max_term_width = 110)]
struct Arguments {
    /// Use these brokers instead of one of our own
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "embedded")]
    kafka: Option<String>,

    /// Use no Kafka: a generator in, files out
    #[arg(long)]
    embedded: bool,

    /// How many payments [default: 3000000, embedded 10000000]
    #[arg(long, value_name = "N")]
    records: Option<u64>,

    /// Another seed gives other payments
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Partitions of each topic
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,

    /// Run this card-alerts binary and build nothing
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,

    /// Keep what the processes wrote, and say where
    #[arg(long)]
    keep: bool,
}

/// Payments, unless told otherwise: some checkpoints must be complete at half time.
const RECORDS: u64 = 3_000_000;
/// A generator is faster than Kafka.
const RECORDS_EMBEDDED: u64 = 10_000_000;

fn main() -> ExitCode {
    let watch = Stopwatch::start();
    match run(&Arguments::parse()) {
        Ok(verdict) => {
            println!("{verdict}, seconds {:.1}", watch.elapsed().as_secs_f64());
            if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Verdict> {
    let binary = match &arguments.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => {
            show::step("building card-alerts, unless it is built already");
            job::for_tests(env!("CARGO_PKG_NAME"))?
        }
    };
    if let Some(bootstrap) = &arguments.kafka {
        show::step(&format!("using Kafka at {bootstrap}"));
        return play(&binary, kafka(arguments, bootstrap)?, arguments);
    }
    if arguments.embedded {
        return play(&binary, embedded(arguments)?, arguments);
    }
    match availability() {
        KafkaAvailability::Available(libraries) => {
            show::step(&format!("starting Apache Kafka {}", xtask::kafka::VERSION));
            let broker = KafkaBroker::start_temporary(libraries)?;
            show::step(&format!("Kafka serves at {}", broker.bootstrap()));
            play(&binary, kafka(arguments, broker.bootstrap())?, arguments)
        }
        KafkaAvailability::Unavailable { reason } => {
            show::step(&format!("NO KAFKA: {reason}"));
            show::step(
                "going on embedded: the same job, cluster, kill and comparison, from a generator to files",
            );
            play(&binary, embedded(arguments)?, arguments)
        }
    }
}

fn play(binary: &Path, mut stage: impl Stage, arguments: &Arguments) -> Result<Verdict> {
    scene::play(binary, &mut stage, arguments.keep)
}

fn kafka(arguments: &Arguments, bootstrap: &str) -> Result<Kafka> {
    Kafka::new(bootstrap, arguments.partitions, arguments.seed, arguments.records.unwrap_or(RECORDS))
}

fn embedded(arguments: &Arguments) -> Result<Embedded> {
    Embedded::new(arguments.seed, arguments.records.unwrap_or(RECORDS_EMBEDDED))
}
