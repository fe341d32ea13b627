//! Every workload runs on every engine, with few records, and gives the same everywhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::process::Command;

use serde_json::Value;

fn bench(workload: &str) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_flott-bench"))
        .args([workload, "--smoke", "--rounds", "1", "--json"])
        .arg(&json)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{workload}: {said}");
    serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap()
}

fn check(workload: &str, rows: usize) {
    let figures = bench(workload);
    assert_eq!(figures.len(), rows, "{figures:?}");
    for row in figures {
        assert_eq!(row["workload"], workload);
        assert_eq!(row["unit"], "records/s");
        for figure in ["flott", "hand", "ratio", "rss_mb", "cpu_s_per_million"] {
            assert!(row[figure].as_f64().unwrap() >= 0.0, "{figure}: {row}");
        }
    }
}

fn has_kafka() -> bool {
    xtask::kafka::availability()
        .libraries()
        .inspect_err(|reason| eprintln!("skipped, for want of a Kafka: {reason}"))
        .is_ok()
}

#[test]
fn the_stateless_workload_runs() {
    check("W1", 1);
}

#[test]
fn the_keyed_sum_runs() {
    check("W2", 2);
}

#[test]
fn the_windowed_count_runs() {
    check("W3", 1);
}

#[test]
fn two_processes_run() {
    check("W4", 1);
}

#[test]
fn kafka_runs() {
    if has_kafka() {
        check("kafka", 1);
    }
}

#[test]
fn card_alerts_runs() {
    if has_kafka() {
        check("card-alerts", 1);
    }
}

#[test]
fn the_footprint_is_measured() {
    assert!(bench("footprint").is_empty());
}
