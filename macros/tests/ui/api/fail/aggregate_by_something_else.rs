//! Only what implements `Aggregate` aggregates.

use flott::prelude::*;

#[derive(Clone)]
struct Sums;

fn main() {
    let mut job = Job::new();
    let numbers = job.source("numbers", CollectionSource::new(vec![1u64]));
    let windows = numbers.key_by(|n| *n).window(TumblingWindows::of(Duration::from_secs(1)));
    let _ = windows.aggregate("sums", Sums);
}
