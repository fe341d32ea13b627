//! `cargo xtask`: the commands of this repository.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use xtask::forward::Tool;
use xtask::kafka::{self, KafkaAvailability, daemon};
use xtask::suite::Suite;
use xtask::{Error, Result, process};

/// Commands of the Flott repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Run the main job for real: Kafka, a cluster of processes, a kill, a comparison.
    #[command(disable_help_flag = true)]
    Demo(Forwarded),
    /// Run all tests on all floors.
    Test(Test),
    /// Run the main job under a seeded storm of kills.
    #[command(disable_help_flag = true)]
    Chaos(Forwarded),
    /// Measure the workloads beside a hand-written loop.
    #[command(disable_help_flag = true)]
    Bench(Forwarded),
    /// Start or stop real Apache Kafka brokers on this machine.
    #[command(subcommand)]
    Kafka(Kafka),
}

#[derive(Args)]
struct Forwarded {
    /// Passed through as they are; try --help.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

#[derive(Args)]
struct Test {
    /// Do not check the format and do not run clippy.
    #[arg(long)]
    no_lint: bool,
    /// Passed to `cargo test`: packages, filters, `-- --nocapture`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

#[derive(Subcommand)]
enum Kafka {
    /// Start brokers that keep running; their addresses are the last line on standard output.
    Up {
        /// Port to listen on, the first of as many as there are brokers; 0 takes free ones.
        #[arg(long, default_value_t = 9092)]
        port: u16,
        /// Number of brokers; with three of them any one can be away.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
        brokers: u16,
        /// Directory of their data and logs [default: in the user's cache directory].
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Run one of Kafka's own tools: kafka-topics, kafka-console-producer, kafka-console-consumer,
    /// kafka-consumer-groups, kafka-transactions.
    #[command(disable_help_flag = true)]
    Tool {
        /// Its name.
        name: String,
        /// Passed through as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Stop them; their data stay.
    Down {
        /// The directory given to `up`.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo(forwarded) => match Tool::Demo.execute(&forwarded.arguments)? {},
        Command::Chaos(forwarded) => match Tool::Chaos.execute(&forwarded.arguments)? {},
        Command::Bench(forwarded) => match Tool::Bench.execute(&forwarded.arguments)? {},
        Command::Test(test) => {
            let status = Suite { lint: !test.no_lint, arguments: test.arguments }.run()?;
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
        }
        Command::Kafka(Kafka::Up { port, brokers, dir }) => {
            let kafka = KafkaAvailability::prepare();
            let libraries = kafka.libraries().map_err(|reason| Error::Missing(reason.to_owned()))?;
            let directory = dir.unwrap_or_else(daemon::default_directory);
            let bootstrap = daemon::up(libraries, &directory, port, brokers)?;
            println!("{bootstrap}");
            Ok(ExitCode::SUCCESS)
        }
        Command::Kafka(Kafka::Tool { name, arguments }) => {
            let status = process::run(&mut kafka::tool(&name, &arguments)?)?;
            Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Kafka(Kafka::Down { dir }) => {
            daemon::down(&dir.unwrap_or_else(daemon::default_directory))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
