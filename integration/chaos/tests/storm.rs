//! A short storm: the long ones are for people and take minutes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::process::Command;

use serde_json::Value;
use xtask::{job, kafka::availability};

#[test]
fn a_short_storm_costs_no_record_and_repeats_none() {
    if let Err(reason) = availability().libraries() {
        eprintln!("not tested, no Kafka: {reason}");
        return;
    }
    let job = job::for_tests(env!("CARGO_PKG_NAME")).unwrap();
    let mut storm = Command::new(env!("CARGO_BIN_EXE_flott-chaos"));
    storm.args(["--seed", "7", "--seconds", "15", "--rate", "1000", "--binary"]).arg(job);
    let output = storm.output().unwrap();
    let (verdict, progress) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{verdict}\n{progress}");
    let verdict: Value = serde_json::from_str(verdict.lines().last().unwrap()).unwrap();
    for nothing in ["missing", "duplicated", "lost_reported"] {
        assert_eq!(verdict[nothing], 0, "{verdict}");
    }
    assert!(
        verdict["records"].as_u64() > Some(5_000) && verdict["recoveries"].as_u64() > Some(0),
        "{verdict}"
    );
}

#[test]
fn a_storm_that_cannot_begin_says_why_on_its_last_line() {
    let mut storm = Command::new(env!("CARGO_BIN_EXE_flott-chaos"));
    storm.args(["--binary", "/nowhere/card-alerts"]).env("FLOTT_KAFKA_UNAVAILABLE", "the test hides it");
    let output = storm.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let last: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(last["error"].as_str().unwrap().contains("the test hides it"), "{last}");
}
