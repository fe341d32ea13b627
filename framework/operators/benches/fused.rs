//! A fused map and filter of `u64` records beside a hand-written loop: `cargo bench -p flott-operators --bench fused`.
//!
//! Both fill a batch, transform it and sum the results, so that the difference is what the operator costs. Rounds are
//! interleaved; medians are reported.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench reads the clock")]

use std::hint::black_box;

use flott_core::{
    BATCH_RECORDS_MAX, Batch, Clock, EventTime, SystemClock,
    operator::{Discard, Operator, Output},
};
use flott_operators::fused::{FusedOperator, Identity, Transform};

const BATCHES: u64 = 20_000;
const ROUNDS: usize = 9;

fn scramble(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (n >> 7)
}

fn hand(is_kept: impl Fn(&u64) -> bool, sum: &mut u64) {
    // One opaque value per record keeps the compiler from working on several at once.
    for n in 0..BATCHES * BATCH_RECORDS_MAX as u64 {
        let n = scramble(black_box(n));
        if is_kept(&n) {
            *sum = sum.wrapping_add(n);
        }
    }
}

fn fused<C: Transform<In = u64, Out = u64>>(transform: C, time: Option<EventTime>, sum: &mut u64) {
    let mut operator = FusedOperator::new(transform);
    let mut out = Output::new(Box::new(Discard));
    let mut batch = Batch::new();
    for start in (0..BATCHES).map(|batch| batch * BATCH_RECORDS_MAX as u64) {
        batch.clear();
        batch.records.extend(start..start + BATCH_RECORDS_MAX as u64);
        if let Some(time) = time {
            batch.times.resize(BATCH_RECORDS_MAX, time);
        }
        operator.process(black_box(&mut batch), &mut out).expect("closures do not fail");
        let results = &mut black_box(&mut out).batch_mut().records;
        *sum = results.iter().fold(*sum, |sum, n| sum.wrapping_add(*n));
        out.batch_mut().clear();
    }
}

fn main() {
    fn steady(n: &u64) -> bool {
        n & 3 != 0
    }
    fn random(n: &u64) -> bool {
        n.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 62 != 0
    }
    let time = Some(EventTime(1));
    let cases: [(&str, &dyn Fn(&mut u64)); 9] = [
        ("identity (cost of filling and summing)", &|sum| fused(Identity::<u64>::new(), None, sum)),
        ("identity with event times", &|sum| fused(Identity::<u64>::new(), time, sum)),
        ("map", &|sum| fused(Identity::<u64>::new().map(scramble), None, sum)),
        ("map, filter 75 %, steady pattern", &|sum| {
            fused(Identity::<u64>::new().map(scramble).filter(steady), None, sum);
        }),
        ("map, filter 75 %, random pattern", &|sum| {
            fused(Identity::<u64>::new().map(scramble).filter(random), None, sum);
        }),
        ("map, filter 75 %, steady, with event times", &|sum| {
            fused(Identity::<u64>::new().map(scramble).filter(steady), time, sum);
        }),
        ("map, flat_map to one", &|sum| {
            fused(Identity::<u64>::new().map(scramble).flat_map(Some), None, sum);
        }),
        ("hand loop, steady pattern", &|sum| hand(steady, sum)),
        ("hand loop, random pattern", &|sum| hand(random, sum)),
    ];
    let mut nanos = vec![Vec::new(); cases.len()];
    for _round in 0..ROUNDS {
        for ((_, case), nanos) in cases.iter().zip(&mut nanos) {
            let (mut sum, start) = (0, SystemClock.now());
            case(&mut sum);
            black_box(sum);
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
