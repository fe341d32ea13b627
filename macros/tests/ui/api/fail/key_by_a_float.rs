//! A floating-point number is no key: NaN does not equal itself.

use flott::prelude::*;

fn main() {
    let mut job = Job::new();
    let numbers = job.source("numbers", CollectionSource::new(vec![1u64]));
    let _ = numbers.key_by(|n| *n as f64);
}
