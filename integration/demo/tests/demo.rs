//! What the demo says last.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::process::{Command, Output};

use xtask::job;

fn demo(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_flott-demo")).args(arguments).output().unwrap();
    let last = String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned();
    (output, last)
}

#[test]
fn without_kafka_a_killed_cluster_loses_and_repeats_nothing_either() {
    let job = job::for_tests(env!("CARGO_PKG_NAME")).unwrap();
    let (output, last) = demo(&["--embedded", "--records", "3000000", "--binary", job.to_str().unwrap()]);
    let progress = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{last}\n{progress}");
    for part in ["embedded", "3000000", "missing 0", "duplicated 0", "recoveries 1", "seconds "] {
        assert!(last.contains(part), "{part} not in {last}\n{progress}");
    }
}

#[test]
fn a_demo_that_cannot_begin_fails() {
    let (output, last) = demo(&["--embedded", "--binary", "/nowhere/card-alerts"]);
    assert_eq!((output.status.code(), last.as_str()), (Some(1), ""));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/card-alerts"));
}
