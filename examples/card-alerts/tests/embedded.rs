//! The job's binary as a person runs it, without Kafka.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

#[test]
fn every_payment_is_counted_once_and_in_order() {
    let mut job = Command::new(env!("CARGO_BIN_EXE_card-alerts"));
    job.args(["--embedded", "--generate", "5000", "--seed", "3", "--parallelism", "2"]);
    let output = job.output().expect("the job can be started");
    let (answers, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");

    let mut payments_of: BTreeMap<u64, u64> = BTreeMap::new();
    let mut total = 0;
    for line in answers.lines() {
        let answer: Value = serde_json::from_str(line).expect("answers are JSON");
        // Alerts have no `n`, minutes no `card`.
        if let (Some(card), Some(n)) = (answer["card"].as_u64(), answer["n"].as_u64()) {
            let before = payments_of.insert(card, n).unwrap_or(0);
            assert_eq!(n, before + 1, "card {card}");
            total += 1;
        }
    }
    assert_eq!(total, 5000, "{said}");
}
