//! `cargo xtask chaos`: the card-alerts job under a seeded storm.
//!
//! A JobManager, two TaskManagers and a standby run the job on a Kafka of their own while payments come in at a steady
//! pace. The [`plan`] says which faults strike and when; [`storm`] carries it out. Then the faults end, the feed ends with
//! payments that close all windows, the job works off what is left and is asked to end; and everything that a
//! `read_committed` reader sees is compared with an independent computation. Progress goes to standard error, the
//! verdict is the last line on standard output.
#![forbid(unsafe_code)]

mod ablation;
mod crew;
mod error;
mod feed;
mod login;
mod logs;
mod plan;
mod run;
mod stalling_store;
mod standstill;
mod storm;
mod surroundings;
mod tail;
mod verdict;

use std::{path::PathBuf, process::ExitCode};

use ablation::Ablation;
use clap::Parser;

/// Run the card-alerts job under a seeded storm of kills and freezes
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask chaos", bin_name = "cargo xtask chaos", max_term_width = 110)]
struct Arguments {
    /// Another seed gives another storm, and other payments
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// How long the storm rages; what it has left behind takes some time more
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,

    /// Take a safety step out: the storm must find a fault, and ends when it has
    #[arg(long, value_name = "STEP")]
    without: Option<Ablation>,

    /// Only faults of these kinds
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = plan::Fault::NAMES, conflicts_with = "without")]
    only: Vec<String>,

    /// Payments a second
    #[arg(long, value_name = "N", default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,

    /// Time between checkpoints [default: 250ms; without quarantine 40ms, so that most kills interrupt one]
    #[arg(long, value_name = "DURATION")]
    checkpoint_interval: Option<String>,

    /// Brokers; of three, any one can be away
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    brokers: u16,

    /// Partitions of each topic
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,

    /// Run this card-alerts binary and build nothing
    #[arg(long, value_name = "FILE", conflicts_with = "without")]
    binary: Option<PathBuf>,

    /// Keep what the processes and the broker wrote, and say where
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    match run::run(&Arguments::parse()) {
        Ok(verdict) => {
            println!("{}", verdict.to_json());
            if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error}");
            println!("{}", serde_json::json!({ "error": error.to_string() }));
            ExitCode::from(2)
        }
    }
}
