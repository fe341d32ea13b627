//! Builds the example job that the demo, the storm, the tests and the benchmarks run.

use std::env;
use std::path::PathBuf;
use std::process::Stdio;

use crate::error::{Error, Result, Trying};
use crate::{cache, process};

/// Name of the package and of its binary.
pub const PACKAGE: &str = "card-alerts";

/// Environment variable by which `cargo xtask test` tells the tests where the binary is that it has built with them.
pub const BINARY_VARIABLE: &str = "CARD_ALERTS_BINARY";

/// Builds the job's binary as the tests are built, and returns where it lies. `beside` is the package that asks: named
/// together, both are built with the same features, so that all they share is built already.
pub fn for_tests(beside: &str) -> Result<PathBuf> {
    match env::var_os(BINARY_VARIABLE).map(PathBuf::from) {
        Some(binary) if binary.is_file() => Ok(binary),
        _ => build(beside, &[]),
    }
}

/// As [`for_tests`], for figures and storms: optimised, and always up to date.
pub fn release(beside: &str) -> Result<PathBuf> {
    build(beside, &["--release"])
}

/// As [`release`], with a feature that both packages have.
pub fn release_with(beside: &str, feature: &str) -> Result<PathBuf> {
    build(beside, &["--release", "--features", feature])
}

fn build(beside: &str, options: &[&str]) -> Result<PathBuf> {
    let mut cargo = process::cargo();
    cargo.current_dir(cache::checkout()).args(["build", "--package", beside, "--package", PACKAGE]);
    cargo.args(["--bin", PACKAGE]).args(options);
    cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = cargo.output().trying(|| format!("cannot run {}", process::shown(&cargo)))?;
    if !output.status.success() {
        return Err(Error::Program { program: process::shown(&cargo), status: output.status });
    }
    executable(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| Error::Unexpected(format!("cargo has built {PACKAGE} and does not say where")))
}

/// The last executable that cargo's messages name.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/card-alerts\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\nnot json\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/card-alerts")));
        assert_eq!(executable(""), None);
    }
}
