//! The error names the feature that is missing, also for a sink in a type.

use flott::prelude::*;

fn alerts() -> FileSink<u64> {
    FileSink::json("alerts")
}

fn main() {
    let mut job = Job::new();
    job.source("numbers", CollectionSource::new(vec![1u64])).sink("alerts", alerts());
}
