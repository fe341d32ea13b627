//! The heavy commands: packages of their own, built and executed with the arguments that they were given.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::clock::Stopwatch;
use crate::error::{Error, Result};
use crate::kafka::{self, KafkaAvailability};
use crate::{cache, job, process, setup};

/// A command that lives in a package of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The main job for real: cluster, kill, comparison.
    Demo,
    /// The main job under a seeded storm.
    Chaos,
    /// The workloads beside a hand-written loop.
    Bench,
}

/// How a tool is built for its arguments.
#[derive(Debug, PartialEq, Eq)]
struct Build {
    package: &'static str,
    /// With full optimisation, for figures and storms. The demo shares the profile of the tests: it is built in a fraction
    /// of the time.
    is_release: bool,
    /// The job's binary is built along.
    with_job: bool,
    is_ablated: bool,
}

impl Tool {
    /// Sets the machine up, builds the tool and becomes it. Returns only if that fails.
    pub fn execute(self, arguments: &[OsString]) -> Result<Infallible> {
        setup::ensure(setup::BUILD)?;
        let (build, needs_kafka) = (self.build(arguments), self.needs_kafka(arguments));
        let kafka = std::thread::scope(|scope| {
            // Downloads and installations for Kafka need not wait for the compiler.
            let kafka = needs_kafka.then(|| scope.spawn(KafkaAvailability::prepare));
            build.run()?;
            Ok(kafka.map(|kafka| kafka.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
        })?;

        let mut tool = Command::new(build.binary(build.package));
        tool.args(arguments).env("CARGO_TARGET_DIR", build.target_directory());
        if build.with_job {
            tool.env(job::BINARY_VARIABLE, build.binary(job::PACKAGE));
        }
        match &kafka {
            Some(KafkaAvailability::Available(libraries)) => {
                tool.env(kafka::LIBRARIES_VARIABLE, libraries.directory());
            }
            Some(KafkaAvailability::Unavailable { reason }) => {
                eprintln!("kafka: not available: {reason}");
                tool.env(kafka::UNAVAILABLE_VARIABLE, reason);
            }
            None => {}
        }
        let what = format!("cannot run {}", process::shown(&tool));
        Err(Error::Io { what, source: tool.exec() })
    }

    fn build(self, arguments: &[OsString]) -> Build {
        let package = match self {
            Self::Demo => "flott-demo",
            Self::Chaos => "flott-chaos",
            Self::Bench => "flott-bench",
        };
        Build {
            package,
            is_release: self != Self::Demo,
            with_job: self == Self::Demo && !has_option(arguments, "--binary"),
            is_ablated: self == Self::Chaos && has_option(arguments, "--without"),
        }
    }

    /// Whether these arguments can lead to a broker of our own.
    fn needs_kafka(self, arguments: &[OsString]) -> bool {
        if has_option(arguments, "--help") || has_option(arguments, "-h") {
            return false;
        }
        match self {
            Self::Demo => !has_option(arguments, "--kafka") && !has_option(arguments, "--embedded"),
            Self::Chaos => true,
            Self::Bench => {
                let mut workloads =
                    arguments.iter().filter(|argument| !argument.as_encoded_bytes().starts_with(b"-"));
                let names_broker_free =
                    arguments.first().is_some_and(|first| first.as_encoded_bytes().starts_with(b"W"));
                !names_broker_free || workloads.any(|workload| workload == "kafka")
            }
        }
    }
}

impl Build {
    /// An ablated build never lies where a sound one is looked for.
    fn target_directory(&self) -> PathBuf {
        let target = cache::target_directory();
        if self.is_ablated { target.join("ablation") } else { target }
    }

    /// The path of a package's binary of the same name when it is built.
    fn binary(&self, package: &str) -> PathBuf {
        let profile = if self.is_release { "release" } else { "debug" };
        self.target_directory().join(profile).join(package)
    }

    /// Builds, and says what and for how long.
    fn run(&self) -> Result<()> {
        let Self { package, .. } = self;
        if !self.binary(package).is_file() {
            let minutes = if self.is_release { "5 to 8 minutes" } else { "about 4 minutes" };
            eprintln!(
                "xtask: building {package} and all it uses, among them librdkafka: {minutes} on two free cores, the first \
                 time only"
            );
        }
        let watch = Stopwatch::start();
        process::run_checked(&mut self.cargo())?;
        eprintln!("xtask: {package} is built, after {:.0} s", watch.elapsed().as_secs_f64());
        Ok(())
    }

    fn cargo(&self) -> Command {
        let mut cargo = process::cargo();
        cargo
            .current_dir(cache::checkout())
            .env("CARGO_TARGET_DIR", self.target_directory())
            .args(["build", "--package", self.package, "--bin", self.package])
            .stdout(std::io::stderr());
        if self.with_job {
            cargo.args(["--package", job::PACKAGE, "--bin", job::PACKAGE]);
        }
        if self.is_release {
            cargo.arg("--release");
        }
        if self.is_ablated {
            cargo.args(["--features", "ablation"]);
        }
        cargo
    }
}

/// `--name`, `--name value` and `--name=value`.
fn has_option(arguments: &[OsString], name: &str) -> bool {
    arguments.iter().any(|argument| {
        let rest = argument.as_encoded_bytes().strip_prefix(name.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn only_a_storm_without_something_is_ablated() {
        assert!(Tool::Chaos.build(&words("--seed 1 --without settle")).is_ablated);
        assert!(Tool::Chaos.build(&words("--without=quarantine")).is_ablated);
        assert!(!Tool::Chaos.build(&words("--seed 1 --seconds 60")).is_ablated);
        assert!(!Tool::Demo.build(&words("--without settle")).is_ablated);
    }

    #[test]
    fn an_ablated_build_has_its_own_directory_and_feature() {
        let build = Tool::Chaos.build(&words("--without settle"));
        assert!(build.target_directory().ends_with("ablation"));
        assert!(process::shown(&build.cargo()).ends_with("--features ablation"));
    }

    #[test]
    fn the_demo_is_built_with_its_job_and_without_full_optimisation() {
        let shown = |tool: Tool, arguments| process::shown(&tool.build(&words(arguments)).cargo());
        let demo = shown(Tool::Demo, "--records 1000");
        assert!(demo.ends_with("--bin flott-demo --package card-alerts --bin card-alerts"), "{demo}");
        assert!(shown(Tool::Demo, "--binary x").ends_with("--bin flott-demo"));
        assert!(shown(Tool::Bench, "W1").ends_with("--bin flott-bench --release"));
    }

    #[test]
    fn kafka_is_set_up_only_for_those_who_want_a_broker() {
        assert!(Tool::Demo.needs_kafka(&[]));
        assert!(!Tool::Demo.needs_kafka(&words("--kafka host:9092")));
        assert!(!Tool::Demo.needs_kafka(&words("--embedded")));
        assert!(Tool::Bench.needs_kafka(&[]));
        assert!(Tool::Bench.needs_kafka(&words("--rounds 3")));
        assert!(Tool::Bench.needs_kafka(&words("W1 kafka")));
        assert!(!Tool::Bench.needs_kafka(&words("W1 W2 --cores 1")));
    }
}
