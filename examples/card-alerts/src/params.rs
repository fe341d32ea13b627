use std::{path::PathBuf, time::Duration};

use flott::prelude::Secret;
use serde::{Deserialize, Serialize};

/// Parameters of the job. Flags, keys of `[params]` in `flott.toml`, or `FLOTT_PARAMS__…` variables.
#[derive(clap::Args, Serialize, Deserialize)]
pub(crate) struct Params {
    /// Kafka brokers
    #[arg(long, value_name = "HOST:PORT,…", default_value = "localhost:9092")]
    pub(crate) brokers: String,

    /// Log in at the brokers as this user, by SCRAM-SHA-256
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,

    /// Password of the user: better given by the variable FLOTT_PARAMS__PASSWORD, where others do not see it
    #[arg(long, value_name = "TEXT")]
    pub(crate) password: Option<Secret>,

    /// What the names of all topics begin with
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) prefix: String,

    /// Stop at the offsets that the input topic has when the job first starts
    #[arg(long)]
    pub(crate) bounded: bool,

    /// A payment of at most so many cents arms its card
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) tiny_cents: i64,

    /// A payment of at least so many cents on an armed card raises an alert
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    pub(crate) large_cents: i64,

    /// Kafka aborts a transaction that stays open for longer; output is lost if no JobManager comes back before
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    pub(crate) transaction_timeout: Duration,

    /// Use no Kafka: generate payments, and write the answers to files or standard output
    #[arg(long)]
    pub(crate) embedded: bool,

    /// Embedded: how many payments to generate
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) generate: u64,

    /// Embedded: generate at most so many payments a second [default: as many as it can]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,

    /// Embedded: another seed gives other payments
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Embedded: directory for the answers, exactly once; all processes must see it [default: standard output]
    #[arg(long, value_name = "DIR", requires = "embedded")]
    pub(crate) output: Option<PathBuf>,
}
