//! The job: two sources, a union, an operator with all kinds of state and a side output, windows, files. And what must come
//! out of it, whatever happens on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use flott::{Job, operators::window::Fold, prelude::*};
use flott_core::{hash, testkit::Random};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Milliseconds of event time that the operator keeps books by.
const BLOCK_MS: i64 = 250;

/// Maximum distance of the event time of a record from the order of its source.
const DISORDER_MS: i64 = 60;

#[derive(Record, Serialize, Deserialize)]
pub(crate) struct Item {
    key: u64,
    value: i64,
    #[record(event_time)]
    at: EventTime,
}

fn item(seed: u64, number: u64) -> Item {
    let mut random = Random::new(hash::word(seed) ^ number);
    let at = number as i64 * 3 + random.between(0, DISORDER_MS);
    Item { key: random.below(40), value: random.between(-9, 9), at: EventTime(at) }
}

fn block_end(at: EventTime) -> i64 {
    (at.0.div_euclid(BLOCK_MS) + 1) * BLOCK_MS
}

/// A key, a kind and up to three numbers.
type Line = (u64, String, i64, i64, i64);

/// Numbers the records of a key, and sums them up per block of event time.
#[derive(Operator)]
struct Books {
    #[state]
    count: ValueState<i64>,
    #[state]
    blocks: MapState<i64, (i64, i64)>,
    #[timer]
    block_over: EventTimer,
    #[side_output]
    zeros: SideOutput<Line>,
}

#[operator]
impl Books {
    fn process(&mut self, item: Item, key: &u64, out: &mut Output<Line>) -> Result<()> {
        let count = self.count.get_or_insert_with(|| 0);
        *count += 1;
        out.emit((*key, "record".into(), *count, 0, 0));
        if item.value == 0 {
            self.zeros.emit((*key, "zero".into(), item.at.0, 0, 0));
        }
        let end = block_end(item.at);
        let (count, sum) = self.blocks.get(&end).copied().unwrap_or_default();
        self.blocks.insert(end, (count + 1, sum + item.value));
        self.block_over.set(EventTime(end));
        Ok(())
    }

    fn on_block_over(&mut self, key: &u64, context: &Context, out: &mut Output<Line>) -> Result<()> {
        let end = context.event_time.0;
        if let Some((count, sum)) = self.blocks.remove(&end) {
            out.emit((*key, "block".into(), end, count, sum));
        }
        Ok(())
    }
}

/// One job, and the files of all its runs.
#[derive(Debug)]
pub(crate) struct RandomJob {
    pub(crate) directory: TempDir,
    seed: u64,
    counts: [u64; 2],
    rate: f64,
    window_ms: i64,
    is_rebalanced: bool,
    /// Records of the first source that fail, each once.
    failing: Arc<Mutex<BTreeSet<u64>>>,
}

impl RandomJob {
    pub(crate) fn new(random: &mut Random) -> Self {
        let counts = [1500 + random.below(3000), 500 + random.below(2000)];
        let failing = (0..random.below(3)).map(|_| random.below(counts[0])).collect();
        Self {
            directory: TempDir::new().unwrap(),
            seed: random.bits(),
            counts,
            rate: *random.pick(&[3000.0, 6000.0]),
            window_ms: *random.pick(&[100, 250, 999]),
            is_rebalanced: random.one_in(2),
            failing: Arc::new(Mutex::new(failing)),
        }
    }

    pub(crate) fn records(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The part of the job that its processes share.
    pub(crate) fn declaration(&self) -> impl Fn(&mut Job) + Send + Sync + use<> {
        let Self { seed, counts, rate, window_ms, is_rebalanced, .. } = *self;
        let (failing, output) = (Arc::clone(&self.failing), self.directory.path().join("out"));
        move |job: &mut Job| {
            let watermarks = || Watermarks::bounded(Duration::from_millis(DISORDER_MS.unsigned_abs()));
            let mut source = |uid: &str, index: usize| {
                let make = move |number| item(seed + index as u64, number);
                let records = GenerateSource::bounded(counts[index], make).splits(4).rate(rate);
                job.source(uid, records).watermarks(watermarks())
            };
            let (first, second, failing) = (source("first", 0), source("second", 1), Arc::clone(&failing));
            let mut number = 0;
            let first = first.try_map(move |item| {
                // An attempt that comes to such a time fails, with any record.
                number += 1;
                let is_due = failing.lock().unwrap().remove(&(item.at.0.unsigned_abs() / 3));
                if is_due { Err(Error::user(format!("asked to fail, at record {number}"))) } else { Ok(item) }
            });
            let mut items = first.union(second);
            if is_rebalanced {
                items = items.rebalance();
            }
            let books = items.clone().key_by(|item| item.key).process("books", Books::new());
            books.side_output::<Line>("zeros").sink("zeros", FileSink::json_lines(output.join("zeros")));
            books.sink("lines", FileSink::json_lines(output.join("lines")));
            let add = |(count, sum): &mut (i64, i64), item: &Item| {
                *count += 1;
                *sum += item.value;
            };
            let finish = |key: &u64, window: Window, (count, sum): (i64, i64)| -> Line {
                (*key, "window".into(), window.start.0, count, sum)
            };
            items
                .key_by(|item| item.key)
                .window(TumblingWindows::of(Duration::from_millis(window_ms.unsigned_abs())))
                .aggregate("sums", Fold::new(<(i64, i64)>::default, add, finish))
                .sink("windows", FileSink::json_lines(output.join("windows")));
        }
    }

    /// Fails unless the files hold each result once and nothing else.
    pub(crate) fn assert_exact(&self) {
        let mut expected = self.expected();
        expected.sort();
        let mut actual = read(&self.directory.path().join("out"));
        actual.sort();
        let lost: Vec<_> =
            expected.iter().filter(|line| actual.binary_search(line).is_err()).take(5).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        assert_eq!(actual.len(), expected.len(), "some results came more than once");
        assert!(actual == expected);
    }

    fn expected(&self) -> Vec<String> {
        let mut counts: BTreeMap<u64, i64> = BTreeMap::new();
        let mut sums: BTreeMap<(u64, &str, i64), (i64, i64)> = BTreeMap::new();
        let mut lines = Vec::new();
        let items = (0..2).flat_map(|index| {
            (0..self.counts[index]).map(move |number| item(self.seed + index as u64, number))
        });
        for Item { key, value, at } in items {
            let count = counts.entry(key).or_default();
            *count += 1;
            lines.push(json!([key, "record", *count, 0, 0]));
            if value == 0 {
                lines.push(json!([key, "zero", at.0, 0, 0]));
            }
            let window = at.0.div_euclid(self.window_ms) * self.window_ms;
            for sum in [(key, "block", block_end(at)), (key, "window", window)] {
                let (count, sum) = sums.entry(sum).or_default();
                *count += 1;
                *sum += value;
            }
        }
        let sums = sums.into_iter().map(|((key, kind, at), (count, sum))| json!([key, kind, at, count, sum]));
        lines.into_iter().chain(sums).map(|line| line.to_string()).collect()
    }
}

/// All committed lines below a directory.
fn read(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            lines.append(&mut read(&path));
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            let text = fs::read_to_string(path).unwrap();
            lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap().to_string()));
        }
    }
    lines
}
