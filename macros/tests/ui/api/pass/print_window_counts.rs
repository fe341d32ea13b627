//! The results of windows can be printed.

use flott::prelude::*;

fn main() {
    let mut job = Job::new();
    let keyed = job
        .source("numbers", CollectionSource::new(vec![1u64]))
        .watermarks(Watermarks::monotonous().event_time(|n| EventTime(*n as i64)))
        .key_by(|n| *n);
    let seconds = TumblingWindows::of(Duration::from_secs(1));
    keyed.clone().window(seconds).count("counts").sink("counts-out", PrintSink::json());
    keyed.window(seconds).aggregate("sums", Sum::of(|n: &u64| *n)).sink("sums-out", PrintSink::json());
    flott::plumbing::finish(job).map(|_| ()).unwrap();
}
