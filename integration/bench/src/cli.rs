//! The command line of `cargo xtask bench`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::{
    error::{Error, Result},
    footprint, report,
    rounds::Row,
    workload::Workload,
};

const FOOTPRINT: &str = "footprint";

/// Measures workloads on Flott beside hand-written loops, and what Flott takes when it does nothing.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// W1, W2, W3, W4, kafka, card-alerts, footprint [default: all]
    workloads: Vec<String>,
    /// On how many cores [default: what each workload's goal is about]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    cores: Option<u32>,
    /// Runs of each engine
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Write the figures to this file as well, as a JSON array
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Few records, to see that everything works; the figures mean nothing
    #[arg(long, hide = true)]
    smoke: bool,
}

/// Measures what the command line asks for.
pub(crate) fn run() -> Result<()> {
    let arguments = Arguments::parse();
    let has_footprint =
        arguments.workloads.is_empty() || arguments.workloads.iter().any(|name| name == FOOTPRINT);
    let mut rows = Vec::new();
    for workload in arguments.workloads()? {
        for &cores in arguments.cores.as_ref().map_or(workload.cores(), std::slice::from_ref) {
            let row = Row::measure(workload, cores, arguments.rounds, arguments.smoke)?;
            report::print(&row);
            rows.push(row);
        }
    }
    if let Some(path) = &arguments.json {
        report::write_json(&rows, path)?;
    }
    if has_footprint {
        footprint::measure(arguments.smoke)?;
    }
    Ok(())
}

impl Arguments {
    fn workloads(&self) -> Result<Vec<Workload>> {
        if self.workloads.is_empty() {
            return Ok(Workload::all().to_vec());
        }
        let named = self.workloads.iter().filter(|name| *name != FOOTPRINT);
        named.map(|name| Workload::from_str(name, true).map_err(Error::Missing)).collect()
    }
}
