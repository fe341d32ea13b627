//! The error names the feature that is missing.

use flott::prelude::*;

fn main() {
    let mut job = Job::new();
    job.source("payments", KafkaSource::json::<u64>("localhost:9092", "payments"))
        .key_by(|n| *n)
        .sink("alerts", KafkaSink::json("localhost:9092", "alerts").exactly_once("job"));
}
