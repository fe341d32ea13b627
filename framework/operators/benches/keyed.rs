//! Operators on keyed state beside hand-written loops: `cargo bench -p flott-operators --bench keyed`.
//!
//! Rounds are interleaved; medians over rounds are reported, of the time that the operators take, not of making records.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench reads the clock")]

use std::{hint::black_box, time::Duration};

use flott_core::{
    BATCH_RECORDS_MAX, Batch, Clock, EventTime, Result, Signal, SystemClock, Watermark,
    hash::HashSeed,
    operator::{ChainLink, Discard, Downstream, Operator, Output, SideLink},
    state::{
        EventTimer, KeyedState, StateBackend, StateBinder, StateDeclaration, StateHandle, TimerTable,
        ValueState,
    },
    testkit::context,
};
use flott_operators::{
    function::{Context, OperatorState, ProcessFunction, TimerKind},
    keyed::KeyedProcess,
    reduce::KeyedReduce,
    window::{Count, TumblingWindows, WindowOperator},
};
use flott_state::heap::HeapBackend;
use rustc_hash::FxHashMap;

const SEED: HashSeed = HashSeed::new(0x5EED, 0xFAC7);
const KEYS: u64 = 1_000_000;
const BATCHES: u64 = 8_000;
const ROUNDS: usize = 5;

/// A uniformly distributed key.
fn key(n: u64) -> u64 {
    let spread = flott_core::hash::word(n ^ 0xA5A5);
    ((u128::from(spread) * u128::from(KEYS)) >> 64) as u64
}

/// Gives every batch that `record` makes to `process`. Returns nanoseconds per record spent there, in the second half.
fn timed<T>(record: impl Fn(u64) -> (T, EventTime), mut process: impl FnMut(&mut Batch<T>)) -> f64 {
    let (mut batch, mut spent) = (Batch::new(), Duration::ZERO);
    for number in 0..BATCHES {
        let start = number * BATCH_RECORDS_MAX as u64;
        for (record, time) in (start..start + BATCH_RECORDS_MAX as u64).map(&record) {
            batch.push(record, time);
        }
        let begin = SystemClock.now();
        process(&mut batch);
        batch.clear();
        if number >= BATCHES / 2 {
            spent += SystemClock.now().since(begin);
        }
    }
    spent.as_nanos() as f64 / (BATCHES / 2 * BATCH_RECORDS_MAX as u64) as f64
}

/// An operator that is given batches, each followed by a watermark where its records have event times.
fn operator<O: Operator + 'static>(operator: O) -> impl FnMut(&mut Batch<O::In>) {
    let mut link = ChainLink::new(operator, context(Default::default()), Box::new(Discard));
    link.open().expect("it opens");
    move |batch| {
        let latest = batch.times.last().copied();
        link.batch(batch).expect("it processes");
        if let Some(time) = latest {
            link.signal(Signal::Watermark(Watermark(time))).expect("it fires");
        }
    }
}

/// Adds up by key, as a user would write it; where `timer_ms` is not zero, each record sets a timer that far ahead.
#[derive(Default)]
struct Sums {
    sum: ValueState<u64>,
    timer: EventTimer,
    timer_ms: u64,
}

impl OperatorState for Sums {
    fn declarations<K: flott_core::Key>() -> Vec<StateDeclaration> {
        Vec::new()
    }
    fn timers() -> &'static [TimerKind] {
        &[TimerKind::EventTime]
    }
    fn side_outputs() -> &'static [&'static str] {
        &[]
    }
    fn bind<K: flott_core::Key, B: StateBackend>(&mut self, binder: &mut StateBinder<'_, B>) -> Result<()> {
        self.sum.bind::<K, B>("sum", binder)?;
        self.timer.bind::<K, B>("timer", binder)
    }
    fn visit_states(&mut self, visitor: &mut dyn FnMut(&mut dyn KeyedState)) {
        visitor(self.sum.table());
        visitor(self.timer.table());
    }
    fn timer(&mut self, _timer: usize) -> &mut dyn TimerTable {
        self.timer.timers()
    }
    fn select(&mut self, at: usize, _time: EventTime) {
        self.sum.select(at);
        self.timer.select(at);
    }
    fn bind_side_output(&mut self, _name: &str, _downstream: Box<dyn std::any::Any + Send>) -> Result<()> {
        Ok(())
    }
    fn visit_side_outputs(&mut self, _: &mut dyn FnMut(&mut dyn SideLink) -> Result<()>) -> Result<()> {
        Ok(())
    }
}

impl ProcessFunction<u64> for Sums {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn process(
        &mut self,
        key: &u64,
        record: (u64, u64),
        context: &Context,
        out: &mut Output<(u64, u64)>,
    ) -> Result<()> {
        let sum = self.sum.get_mut().map_or(record.1, |sum| {
            *sum += record.1;
            *sum
        });
        if sum == record.1 {
            self.sum.set(sum);
        }
        if self.timer_ms > 0 {
            self.timer.set(EventTime(context.event_time.0 + self.timer_ms as i64));
        }
        out.emit((*key, sum));
        Ok(())
    }

    fn on_timer(&mut self, _: usize, key: &u64, _: &Context, out: &mut Output<(u64, u64)>) -> Result<()> {
        out.emit((*key, 0));
        Ok(())
    }
}

fn process(timer_ms: u64) -> impl Operator<In = (u64, u64), Out = (u64, u64)> {
    KeyedProcess::new(
        Sums { timer_ms, ..Sums::default() },
        |record: &(u64, u64)| record.0,
        HeapBackend::new(SEED),
    )
}

fn hand_sums() -> impl FnMut(&mut Batch<(u64, u64)>) {
    let mut sums = FxHashMap::<u64, u64>::default();
    move |batch| {
        for (key, n) in batch.records.drain(..) {
            let sum = sums.entry(key).or_default();
            *sum += n;
            black_box((key, *sum));
        }
    }
}

/// Half of the bids go to the auction of the moment, the others to one of the last thousands.
fn bid(n: u64) -> ((u64, u64), EventTime) {
    let newest = n * 3 / 50;
    let auction = if n.is_multiple_of(2) { newest / 100 * 100 } else { newest.saturating_sub(key(n) % 1000) };
    ((auction, n), EventTime(n as i64 / 100))
}

fn hand_counts() -> impl FnMut(&mut Batch<(u64, u64)>) {
    let mut windows = std::collections::BTreeMap::<EventTime, FxHashMap<u64, u64>>::new();
    move |batch| {
        let latest = batch.times.last().copied();
        let mut open = (EventTime::MIN, FxHashMap::default());
        for ((auction, _), time) in batch.drain() {
            let start = time.floor(10_000);
            if start != open.0 {
                windows.insert(open.0, open.1);
                open = (start, windows.remove(&start).unwrap_or_default());
            }
            *open.1.entry(auction).or_default() += 1;
        }
        windows.insert(open.0, open.1);
        while let Some(window) = windows.first_entry()
            && latest.is_some_and(|time| window.key().0.saturating_add(9_999) <= time.0)
        {
            for (auction, count) in window.remove() {
                black_box((auction, count));
            }
        }
    }
}

fn main() {
    let untimed = |n| ((key(n), n), EventTime::MIN);
    let spaced = |n| ((key(n), n), EventTime(n as i64));
    let sum = || {
        KeyedReduce::new(|sum: &mut (u64, u64), (_, n)| sum.1 += n, |record| record.0, HeapBackend::new(SEED))
    };
    let windows = TumblingWindows::of(Duration::from_secs(10));
    let count = || WindowOperator::new(windows, Count, |bid: &(u64, u64)| bid.0, HeapBackend::new(SEED));
    let cases: [(&str, &dyn Fn() -> f64); 6] = [
        ("running sum of 1e6 keys: reduce", &|| timed(untimed, operator(sum()))),
        ("running sum of 1e6 keys: process with a ValueState", &|| timed(untimed, operator(process(0)))),
        ("running sum of 1e6 keys: hand loop, FxHashMap", &|| timed(untimed, hand_sums())),
        ("the same with a timer set and fired per record", &|| timed(spaced, operator(process(5_000)))),
        ("count of bids per auction and 10 s: window", &|| timed(bid, operator(count()))),
        ("count of bids per auction and 10 s: hand loop", &|| timed(bid, hand_counts())),
    ];
    // `-- TEXT` runs the cases whose names have the text.
    let wanted: Vec<_> = std::env::args().skip(1).filter(|text| !text.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.iter().all(|text| name.contains(text));
    let cases: Vec<_> = cases.into_iter().filter(|(name, _)| is_wanted(name)).collect();
    let mut nanos = vec![Vec::new(); cases.len()];
    for _round in 0..ROUNDS {
        for ((_, case), nanos) in cases.iter().zip(&mut nanos) {
            nanos.push(case());
        }
    }
    for ((name, _), nanos) in cases.iter().zip(&mut nanos) {
        nanos.sort_by(f64::total_cmp);
        println!(
            "{:6.1} ns/record  ({:.1} to {:.1})  {name}",
            nanos[ROUNDS / 2],
            nanos[0],
            nanos[ROUNDS - 1]
        );
    }
}
