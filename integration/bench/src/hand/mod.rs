//! The workloads as loops written for the purpose: no engine, no checkpoints, nothing that could fail over.

mod card_alerts;
mod kafka;
mod keyed_sum;
mod mesh;
mod native;
mod stateless;
mod two_processes;
mod windowed_count;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    error::{Error, Result},
    kafka::Route,
    workload::{Engine, Workload},
};

/// What a loop is told. The orchestrating process makes this command line.
#[derive(Parser)]
struct HandArguments {
    #[arg(long)]
    workload: Workload,
    #[arg(long)]
    cores: u32,
    #[arg(long)]
    records: u64,
    #[arg(long, default_value = "hand")]
    engine: Engine,
    #[command(flatten)]
    route: Route,
    /// Of two processes, which one this is.
    #[arg(long, default_value_t = 0)]
    peer: u16,
    /// Where the two processes meet.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Runs the loop that the command line names.
pub(crate) fn run() -> Result<ExitCode> {
    let arguments = HandArguments::parse();
    let records = arguments.records;
    match (arguments.workload, arguments.cores) {
        (Workload::Stateless, cores) => stateless::run(records, u64::from(cores)),
        (Workload::KeyedSum, 1) => keyed_sum::run(records),
        (Workload::KeyedSum, cores) => mesh::run(records, cores as usize),
        (Workload::WindowedCount, 1) => windowed_count::run(records),
        (Workload::TwoProcesses, _) => two_processes::run(records, arguments.peer, arguments.port)?,
        (Workload::Kafka, _) if arguments.engine == Engine::HandBatch => {
            kafka::batch(&arguments.route, records)?
        }
        (Workload::Kafka, _) => kafka::single(&arguments.route, records)?,
        (Workload::CardAlerts, _) => card_alerts::run(&arguments.route, records)?,
        (workload, cores) => {
            let name = workload.name();
            return Err(Error::Missing(format!("there is no hand-written loop for {name} on {cores} cores")));
        }
    }
    Ok(ExitCode::SUCCESS)
}
