//! Heap state beside a plain `FxHashMap`: `cargo bench -p flott-state --bench heap [-- KEYS]`.
//!
//! All variants add to one of a million counters per record, in interleaved rounds; medians, spread and the ratio to
//! the map loop are printed. Then: the pause of a checkpoint, the worst insert into maps while checkpoints read them, and
//! keys that were chosen to collide beside others. `-- --test` runs everything once with few keys.

use std::{hint::black_box, sync::Arc, time::Instant};

use flott_core::{
    KeyGroup, KeyGroupRange, MaxParallelism, Result,
    hash::{HashSeed, word},
    key_group::KeySpace,
    snapshot::{KeyedSnapshotSink, RestoredOperator, StateContent, StateSnapshot},
    state::{KeyBatch, SharedKeys, StateBackend, StateDeclaration, ValueTable},
    testkit::colliding_texts,
};
use flott_state::heap::HeapBackend;
use rustc_hash::FxHashMap;

const SEED: HashSeed = HashSeed::new(0x5EED, 0xFAC7);
const BATCH: usize = 1024;
const WINDOW: usize = 64;

fn all_keys() -> KeySpace {
    KeySpace { groups: KeyGroupRange { start: 0, end: 1024 }, max_parallelism: MaxParallelism::default() }
}

/// What is compared; each does one round over the same keys.
struct Bench {
    keys: u64,
    records: usize,
    table: Box<dyn ValueTable<u64>>,
    batch: Arc<KeyBatch<u64>>,
    map: FxHashMap<u64, u64>,
}

impl Bench {
    fn new(keys: u64, records: usize) -> Self {
        let sum = StateDeclaration::value::<u64, u64>("sum");
        let before = resident_mb();
        let mut table = HeapBackend::new(SEED)
            .value::<u64, u64>(&sum, all_keys(), &mut RestoredOperator::default())
            .expect("a new table");
        let mut batch = Arc::new(KeyBatch::default());
        for key in 0..keys {
            with(&mut batch, &mut *table, &[word(key)], |table| *table.set(0, 0) = 0);
        }
        let middle = resident_mb();
        let map = (0..keys).map(|key| (word(key), 0)).collect();
        println!(
            "{keys} keys u64 -> u64: flott {:.1} MB, FxHashMap {:.1} MB",
            middle - before,
            resident_mb() - middle
        );
        Self { keys, records, table, batch, map }
    }

    fn round(&mut self, seed: u64, mut work: impl FnMut(&mut Self, &[u64])) -> f64 {
        let mut state = seed;
        let mut batch = vec![0; BATCH];
        let started = now();
        for _ in 0..self.records / BATCH {
            for key in &mut batch {
                state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                *key = word(((state >> 32) * self.keys) >> 32);
            }
            work(self, &batch);
        }
        self.records as f64 / started.elapsed().as_secs_f64() / 1e6
    }

    fn flott(&mut self, keys: &[u64], is_prefetching: bool) {
        with(&mut self.batch, &mut *self.table, keys, |table| {
            for start in (0..keys.len()).step_by(WINDOW) {
                let window = start..(start + WINDOW).min(keys.len());
                if is_prefetching {
                    table.prefetch(window.clone());
                }
                for at in window {
                    let sum = table.get(at).map_or(0, |sum| *sum);
                    table.set(at, sum + 1);
                }
            }
        });
    }

    fn map(&mut self, keys: &[u64]) {
        for &key in keys {
            *self.map.entry(key).or_default() += 1;
        }
    }
}

/// Runs `work` on a batch, as the engine does.
fn with(
    batch: &mut Arc<KeyBatch<u64>>,
    table: &mut dyn ValueTable<u64>,
    keys: &[u64],
    work: impl FnOnce(&mut dyn ValueTable<u64>),
) {
    let filled = Arc::get_mut(batch).expect("nobody else holds the keys between batches");
    filled.clear();
    keys.iter().for_each(|&key| filled.push(key));
    table.begin_batch(Arc::clone(batch) as SharedKeys);
    work(table);
    table.end_batch();
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1024.0
}

fn report(name: &str, rates: &mut [f64], base: f64) -> f64 {
    rates.sort_by(f64::total_cmp);
    let median = rates[rates.len() / 2];
    let ratio = if base > 0.0 { median / base } else { 1.0 };
    println!(
        "{name:<28} min {:7.1}  median {median:7.1}  max {:7.1} M/s   {ratio:5.2} x map",
        rates[0],
        rates[rates.len() - 1]
    );
    median
}

/// Counts what a snapshot writes.
#[derive(Default)]
struct Counter(u64);

impl KeyedSnapshotSink for Counter {
    fn key_group(&mut self, _group: KeyGroup, _entries: u64, bytes: &[u8]) -> Result<()> {
        self.0 += black_box(bytes).len() as u64;
        Ok(())
    }
}

fn write(snapshot: StateSnapshot) -> u64 {
    let mut counter = Counter::default();
    if let StateContent::Keyed(write) = snapshot.content {
        write(&mut counter).expect("counting cannot fail");
    }
    counter.0
}

fn throughput(keys: u64, records: usize, rounds: u64) {
    let mut bench = Bench::new(keys, records);
    let mut rates: [Vec<f64>; 4] = Default::default();
    for seed in 0..rounds {
        rates[0].push(bench.round(seed, Bench::map));
        rates[1].push(bench.round(seed, |bench, keys| bench.flott(keys, true)));
        rates[2].push(bench.round(seed, |bench, keys| bench.flott(keys, false)));
        let snapshot = bench.table.snapshot();
        rates[3].push(bench.round(seed, |bench, keys| bench.flott(keys, true)));
        drop(snapshot);
    }
    let base = report("FxHashMap", &mut rates[0], 0.0);
    report("flott, prefetch", &mut rates[1], base);
    report("flott, no prefetch", &mut rates[2], base);
    report("flott, prefetch + snapshot", &mut rates[3], base);
    assert_eq!(bench.map.values().sum::<u64>() * 3, {
        let mut sum = 0;
        for key in 0..keys {
            let (batch, table) = (&mut bench.batch, &mut *bench.table);
            with(batch, table, &[word(key)], |table| sum += table.get(0).map_or(0, |sum| *sum));
        }
        sum
    });
}

fn pause(keys: u64, rounds: usize) {
    let mut bench = Bench::new(keys, 0);
    let mut pauses = Vec::new();
    for round in 0..rounds {
        let started = now();
        let snapshot = bench.table.snapshot();
        pauses.push(started.elapsed().as_secs_f64() * 1e3);
        let started = now();
        let bytes = write(snapshot);
        let written = started.elapsed().as_secs_f64() * 1e3;
        println!(
            "{keys} keys, round {round}: pause {:.3} ms, encoding {written:.0} ms, {bytes} bytes",
            pauses[round]
        );
        // Everything is written to, so that the next snapshot has to freeze it all again.
        for key in (0..keys).step_by(64) {
            let (batch, table) = (&mut bench.batch, &mut *bench.table);
            with(batch, table, &[word(key)], |table| *table.set(0, 1) += 1);
        }
    }
}

/// The worst insert into one of `keys` maps of 300 entries each, without and with checkpoints that hold on to what they read.
fn worst_insert(keys: u64) {
    let maps = StateDeclaration::map::<u64, u64, u64>("maps");
    let backend = &mut HeapBackend::new(SEED);
    let mut table = backend
        .map::<u64, u64, u64>(&maps, all_keys(), &mut RestoredOperator::default())
        .expect("a new table");
    let mut batch = KeyBatch::default();
    (0..keys).for_each(|key| batch.push(key));
    table.begin_batch(Arc::new(batch) as SharedKeys);
    let positions = 0..usize::try_from(keys).expect("few keys");
    for has_checkpoints in [false, true] {
        let (mut worst, mut frozen) = (0.0f64, None);
        for entry in 0..300 {
            if has_checkpoints && entry % 100 == 0 {
                frozen = Some(table.snapshot());
            }
            for at in positions.clone() {
                let started = now();
                table.insert(at, word(entry), entry);
                worst = worst.max(started.elapsed().as_secs_f64() * 1e3);
            }
        }
        drop(frozen);
        let with = if has_checkpoints { "with" } else { "without" };
        println!("{keys} keys with 300 entries each: worst insert {worst:.2} ms {with} checkpoints");
    }
}

/// Milliseconds to count keys.
fn count(keys: &[String]) -> f64 {
    let backend = &mut HeapBackend::new(SEED);
    let counts = StateDeclaration::value::<String, u64>("counts");
    let mut table = backend
        .value::<String, u64>(&counts, all_keys(), &mut RestoredOperator::default())
        .expect("a new table");
    let started = now();
    for keys in keys.chunks(BATCH) {
        let mut batch = KeyBatch::default();
        keys.iter().for_each(|key| batch.push(key.clone()));
        table.begin_batch(Arc::new(batch) as SharedKeys);
        table.update(0..keys.len(), &mut |_, count| count.map(|count| *count += 1).is_none().then_some(1));
        table.end_batch();
    }
    started.elapsed().as_secs_f64() * 1e3
}

fn chosen_keys(keys: usize, rounds: usize) {
    let chosen = colliding_texts(keys);
    let others: Vec<_> = (0..keys as u64).map(|number| format!("{:016x}", word(number))).collect();
    let mut times: [Vec<f64>; 2] = Default::default();
    for _ in 0..rounds {
        times[0].push(count(&others));
        times[1].push(count(&chosen));
    }
    times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    let [others, chosen] = times.map(|times| times[times.len() / 2]);
    println!("{keys} texts counted: {others:.2} ms, chosen to collide {chosen:.2} ms");
}

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        throughput(1_000, 10 * BATCH, 1);
        pause(10_000, 1);
        worst_insert(100);
        chosen_keys(500, 1);
        return;
    }
    let keys = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    throughput(keys, 10_000_000, 7);
    pause(10_000_000, 3);
    worst_insert(3_500);
    chosen_keys(40_000, 9);
}
