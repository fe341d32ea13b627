//! What can be done with a stream can be done with that of a source, and all streams unite.

use flott::prelude::*;

fn main() {
    let mut job = Job::new();
    let mut numbers = |uid: &str| job.source(uid, CollectionSource::new(vec![1u64, 2]));
    let kept = numbers("kept").try_filter(|n| Ok(*n > 1));
    let halves = numbers("halves").try_flat_map(|n| Ok([n / 2, n - n / 2]));
    let (left, right) = (numbers("left"), numbers("right"));
    left.union(right)
        .union(kept)
        .union(halves)
        .union(numbers("erased").erased())
        .union(numbers("mapped").map(|n| n + 1))
        .sink("out", DiscardSink::new());
    flott::plumbing::finish(job).map(|_| ()).unwrap();
}
