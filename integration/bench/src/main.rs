//! Measures the workloads of the performance goals on Flott beside hand-written loops: `cargo xtask bench`.
//!
//! Every timed run is a process of its own, so that memory and processor time are counted per run: this binary starts
//! itself again, as a job ([`job`]) or as a loop ([`hand`]). [`rounds`] interleaves the runs and [`report`] prints what
//! came out; [`measure`] is what a timed process knows about itself. [`footprint`] measures what is no rate.

mod cli;
mod error;
mod footprint;
mod hand;
mod job;
mod kafka;
mod measure;
mod process;
mod records;
mod report;
mod rounds;
mod run;
mod workload;

use std::process::ExitCode;

use error::Result;
use process::Child;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Child::of_environment() {
        Some(Child::Job) => measure::reported(|| Ok(job::run())),
        Some(Child::Hand) => measure::reported(hand::run),
        Some(Child::Program) => measure::reported(process::become_program),
        None => exit_code(cli::run()),
    }
}

fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
