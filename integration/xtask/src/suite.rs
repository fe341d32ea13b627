//! `cargo xtask test`: everything that `.ci/run` proves.

use std::ffi::OsString;
use std::process::{Command, ExitStatus};

use crate::clock::Stopwatch;
use crate::error::{Error, Result};
use crate::kafka::KafkaAvailability;
use crate::{cache, job, process, setup};

/// A feature of this name breaks the product on purpose. Only the storm's own build turns it on.
const ABLATION: &str = "ablation";

/// What `cargo xtask test` was asked.
#[derive(Debug, Default)]
pub struct Suite {
    /// Also check the format and run clippy first, where they are installed.
    pub lint: bool,
    /// Arguments for `cargo test`: packages, filters, `-- --nocapture`.
    pub arguments: Vec<OsString>,
}

impl Suite {
    /// Sets the machine up and runs the tests. The last lines printed are the test runner's.
    pub fn run(&self) -> Result<ExitStatus> {
        eprintln!("build directory: {}", cache::target_directory().display());
        timed("set-up", || {
            setup::ensure(setup::BUILD)?;
            match KafkaAvailability::prepare() {
                KafkaAvailability::Available(libraries) => {
                    eprintln!("kafka: {}", libraries.directory().display());
                }
                KafkaAvailability::Unavailable { reason } => {
                    eprintln!("kafka: NOT AVAILABLE, tests that need it cannot run: {reason}");
                }
            }
            Ok(())
        })?;
        let features = features()?;
        if self.lint {
            if process::succeeds(process::cargo().args(["fmt", "--version"])) {
                timed("format", || process::run_checked(cargo().args(["fmt", "--all", "--check"])))?;
            } else {
                eprintln!("== format: skipped, rustfmt is not installed");
            }
            if process::succeeds(process::cargo().args(["clippy", "--version"])) {
                let arguments = ["clippy", "--workspace", "--all-targets", "--features", &features.join(",")];
                timed("lint", || {
                    process::run_checked(cargo().args(arguments).args(["--", "-D", "warnings"]))
                })?;
            } else {
                eprintln!("== lint: skipped, clippy is not installed");
            }
        }
        eprintln!("== tests");
        let mut tests = cargo();
        tests.args(["test", "--no-fail-fast"]).args(self.selection(features)).args(&self.arguments);
        if self.builds_everything() {
            // The job's own test has it built, before any test runs.
            tests.env(job::BINARY_VARIABLE, cache::target_directory().join("debug").join(job::PACKAGE));
        }
        process::run(&mut tests)
    }

    /// Whether neither packages nor targets are chosen: a filter of names leaves all of them to be built.
    fn builds_everything(&self) -> bool {
        let mut for_cargo = self.arguments.iter().take_while(|argument| *argument != "--");
        !for_cargo.any(|argument| argument.as_encoded_bytes().starts_with(b"-"))
    }

    /// The whole workspace, unless the arguments choose packages; features of the chosen ones only.
    fn selection(&self, mut features: Vec<String>) -> Vec<String> {
        let chosen = self.chosen_packages();
        let mut arguments = Vec::new();
        if chosen.is_empty() {
            arguments.push("--workspace".to_owned());
        } else {
            features
                .retain(|feature| chosen.iter().any(|package| feature.split('/').next() == Some(package)));
        }
        if !features.is_empty() {
            arguments.extend(["--features".to_owned(), features.join(",")]);
        }
        arguments
    }

    fn chosen_packages(&self) -> Vec<String> {
        let mut packages = Vec::new();
        let mut arguments = self.arguments.iter().map(|argument| argument.to_string_lossy());
        while let Some(argument) = arguments.next() {
            match &*argument {
                "--" => break,
                "-p" | "--package" => packages.extend(arguments.next().map(|name| name.into_owned())),
                given => {
                    let name = given.strip_prefix("--package=").or_else(|| given.strip_prefix("-p"));
                    packages.extend(name.map(str::to_owned));
                }
            }
        }
        packages
    }
}

fn cargo() -> Command {
    let mut cargo = process::cargo();
    cargo.current_dir(cache::checkout()).env("CARGO_TARGET_DIR", cache::target_directory());
    cargo
}

fn timed(phase: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("== {phase}");
    let watch = Stopwatch::start();
    let result = work();
    let outcome = if result.is_ok() { "done" } else { "FAILED" };
    eprintln!("== {phase}: {outcome}, {:.1} s", watch.elapsed().as_secs_f64());
    result
}

/// All features of all packages but the ablations, as `package/feature`.
fn features() -> Result<Vec<String>> {
    let mut metadata = process::cargo();
    metadata.args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(cache::checkout());
    let output = metadata
        .output()
        .map_err(|source| Error::Io { what: "cannot run cargo metadata".to_owned(), source })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Unexpected(format!("cargo metadata failed: {text}")));
    }
    let metadata = serde_json::from_slice(&output.stdout)
        .map_err(|error| Error::Unexpected(format!("cannot read cargo metadata: {error}")))?;
    Ok(features_in(&metadata))
}

fn features_in(metadata: &serde_json::Value) -> Vec<String> {
    let mut features = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let Some((name, declared)) = package["name"].as_str().zip(package["features"].as_object()) else {
            continue;
        };
        let wanted = declared.keys().filter(|feature| *feature != ABLATION && *feature != "default");
        features.extend(wanted.map(|feature| format!("{name}/{feature}")));
    }
    features
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(arguments: &[&str]) -> Suite {
        Suite { lint: false, arguments: arguments.iter().map(OsString::from).collect() }
    }

    #[test]
    fn ablations_are_never_turned_on() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "a", "features": { "default": ["kafka"], "kafka": [], "ablation": [] } },
            { "name": "b", "features": {} },
        ]});
        assert_eq!(features_in(&metadata), ["a/kafka"]);
    }

    #[test]
    fn without_packages_the_whole_workspace_is_tested() {
        let features = vec!["a/kafka".to_owned(), "b/testkit".to_owned()];
        assert_eq!(suite(&["tidy"]).selection(features), ["--workspace", "--features", "a/kafka,b/testkit"]);
    }

    #[test]
    fn a_filter_of_names_leaves_everything_to_be_built() {
        assert!(suite(&[]).builds_everything() && suite(&["tidy", "--", "--nocapture"]).builds_everything());
        assert!(!suite(&["-p", "b"]).builds_everything() && !suite(&["--test", "kafka"]).builds_everything());
    }

    #[test]
    fn chosen_packages_get_their_own_features_only() {
        let features = vec!["a/kafka".to_owned(), "b/testkit".to_owned()];
        assert_eq!(suite(&["-p", "b", "--", "-p", "a"]).selection(features), ["--features", "b/testkit"]);
        assert_eq!(suite(&["--package=c"]).selection(vec!["a/kafka".to_owned()]), Vec::<String>::new());
    }
}
