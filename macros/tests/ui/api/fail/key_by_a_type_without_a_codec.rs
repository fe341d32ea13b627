//! A type of another crate becomes a key when it is wrapped; a reference when it is cloned.

use flott::prelude::*;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Uuid([u8; 16]);

#[derive(Record, Clone, Serialize)]
struct Payment {
    card: String,
}

fn main() {
    let mut job = Job::new();
    let numbers = job.source("numbers", CollectionSource::new(vec![1u64]));
    numbers.key_by(|_| Uuid([0; 16])).reduce("sums", |sum, n| *sum += n).sink("out", PrintSink::json());

    let payments = job.source("payments", CollectionSource::new(vec![Payment { card: "one".into() }]));
    let _ = payments.key_by(|payment| &payment.card);
}
