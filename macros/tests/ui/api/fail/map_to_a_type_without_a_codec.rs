//! What flows must be a record.

use flott::prelude::*;

struct Opaque(std::process::Child);

fn main() {
    let mut job = Job::new();
    let numbers = job.source("numbers", CollectionSource::new(vec![1u64]));
    let _ = numbers.map(|_| -> Opaque { unreachable!() });
}
