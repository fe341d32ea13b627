//! Every source and sink takes a stable name.

use flott::prelude::*;

fn main() {
    let mut job = Job::new();
    job.source(CollectionSource::new(vec![1u64])).sink("out", DiscardSink::new());
    job.source("numbers", CollectionSource::new(vec![1u64])).sink(DiscardSink::new());
}
