//! The cost of a partitioner per record: `cargo bench -p flott-runtime --bench partition`.
//!
//! Each case fills batches, partitions them over four channels, and empties the buffers as they become full. Passing
//! whole batches on is what that costs at the least. Rounds are interleaved; medians are reported.

use std::hint::black_box;

use flott_core::{
    BATCH_RECORDS_MAX, Batch, Clock, EventTime, MaxParallelism, Record, SubtaskIndex, SystemClock,
};
use flott_runtime::output::{ForwardPartitioner, HashPartitioner, Partitioner, RebalancePartitioner};

const BATCHES: u64 = 5_000;
const CHANNELS: usize = 4;
const ROUNDS: usize = 9;

/// As long as a payment.
type Wide = (u64, (u64, u64, u64, u64), (u64, u64, u64, u64), EventTime, u64, u64);

fn wide(n: u64) -> Wide {
    (n, (n, n, n, n), (n, n, n, n), EventTime(n as i64), n, n)
}

fn run<T: Record>(mut partitioner: impl Partitioner<T>, make: fn(u64) -> T, is_timed: bool) {
    let mut buffers: Vec<_> = (0..CHANNELS).map(|_| Batch::new()).collect();
    let mut batch = Batch::new();
    for start in (0..BATCHES).map(|batch| batch * BATCH_RECORDS_MAX as u64) {
        batch.records.extend((start..start + BATCH_RECORDS_MAX as u64).map(make));
        if is_timed {
            batch.times.resize(BATCH_RECORDS_MAX, EventTime(1));
        }
        partitioner.partition(black_box(&mut batch), &mut buffers);
        for buffer in buffers.iter_mut().filter(|buffer| buffer.is_full()) {
            black_box(&mut *buffer).clear();
        }
    }
}

fn main() {
    let rebalance = || RebalancePartitioner::new(SubtaskIndex(0));
    let max_parallelism = MaxParallelism::default();
    let cases: [(&str, &dyn Fn()); 8] = [
        ("8 bytes, whole batches", &|| run(ForwardPartitioner, |n| n, false)),
        ("8 bytes, rebalance", &|| run(rebalance(), |n| n, false)),
        ("8 bytes with event times, whole batches", &|| run(ForwardPartitioner, |n| n, true)),
        ("8 bytes with event times, rebalance", &|| run(rebalance(), |n| n, true)),
        ("8 bytes with event times, hash", &|| {
            run(HashPartitioner::new(|n: &u64| *n, max_parallelism, CHANNELS as u32), |n| n, true);
        }),
        ("96 bytes with event times, whole batches", &|| run(ForwardPartitioner, wide, true)),
        ("96 bytes with event times, rebalance", &|| run(rebalance(), wide, true)),
        ("96 bytes with event times, hash", &|| {
            run(HashPartitioner::new(|record: &Wide| record.0, max_parallelism, CHANNELS as u32), wide, true);
        }),
    ];
    let mut nanos = vec![Vec::new(); cases.len()];
    for _round in 0..ROUNDS {
        for ((_, case), nanos) in cases.iter().zip(&mut nanos) {
            let start = SystemClock.now();
            case();
            let elapsed = SystemClock.now().since(start);
            nanos.push(elapsed.as_nanos() as f64 / (BATCHES * BATCH_RECORDS_MAX as u64) as f64);
        }
    }
    for ((name, _), nanos) in cases.iter().zip(&mut nanos) {
        nanos.sort_by(f64::total_cmp);
        println!(
            "{:6.3} ns/record  ({:.3} to {:.3})  {name}",
            nanos[ROUNDS / 2],
            nanos[0],
            nanos[ROUNDS - 1]
        );
    }
}
