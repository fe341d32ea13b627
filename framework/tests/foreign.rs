//! Types of other crates behind `#[record(serde)]`, in state that goes through a real checkpoint and restore.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use flott::{plumbing, prelude::*};
use flott_cluster::{
    ClusterSettings, JobEvent, JobLaunch, JobOutcome, JobProgress, OutcomeStatus, ProgressListener,
    StopSignal, Termination, run_local,
};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tempfile::TempDir;

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Sparse {
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    count: u64,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    tags: Vec<String>,
    last: Option<i64>,
}

#[derive(Record, Clone)]
struct Order {
    number: u64,
    #[record(serde)]
    price: Decimal,
    #[record(serde)]
    extra: Value,
    #[record(serde)]
    sparse: Sparse,
    #[record(serde)]
    seen: HashMap<String, u64>,
}

const KEYS: u64 = 40;
const ORDERS: u64 = 12_000;

fn order(number: u64) -> Order {
    let note = number.is_multiple_of(3).then(|| format!("order {number}"));
    Order {
        number,
        price: Decimal::new(number as i64, 2),
        extra: json!({"of": number, "list": [null, 1.5, "x"]}),
        sparse: Sparse { note, count: 1, tags: Vec::new(), last: Some(-1) },
        seen: HashMap::from([(format!("{}", number % 7), 1), ("all".into(), 1)]),
    }
}

fn add(sum: &mut Order, next: Order) {
    sum.price += next.price;
    sum.extra["of"] = json!(sum.extra["of"].as_u64().unwrap() + next.number);
    sum.sparse = Sparse { count: sum.sparse.count + 1, ..next.sparse };
    for (name, count) in next.seen {
        *sum.seen.entry(name).or_default() += count;
    }
}

/// Stops the job behind a checkpoint; keeps what is told.
struct Told<F> {
    stop_behind: Option<(&'static str, F)>,
    lines: Mutex<Vec<String>>,
}

impl<F: Fn() + Send + Sync> ProgressListener for Told<F> {
    fn on_progress(&self, _progress: &JobProgress) {}

    fn on_event(&self, event: &JobEvent) {
        self.lines.lock().unwrap().push(event.text.clone());
        if let Some((line, stop)) = &self.stop_behind
            && event.text.contains(line)
        {
            stop();
        }
    }
}

fn run(
    directory: &Path,
    stop_behind: Option<&'static str>,
    build: impl Fn(&mut Job) + Send + Sync + 'static,
) -> (JobOutcome, Vec<String>) {
    let (stop, terminate) = Termination::by_hand();
    let launch = JobLaunch {
        job_name: "foreign".into(),
        build_id: "test".into(),
        parameters: Value::Null,
        settings: ClusterSettings {
            parallelism: 2,
            checkpoint_interval: Duration::from_millis(50),
            checkpoint_dir: format!("file://{}", directory.join("checkpoints").display()),
            ..ClusterSettings::default()
        },
        build_program: Arc::new(move |_, _| {
            let mut job = Job::new();
            build(&mut job);
            plumbing::finish(job)
        }),
        terminate,
    };
    let stop = move || {
        let _ = stop.try_send(StopSignal::Interrupt);
    };
    let told = Arc::new(Told { stop_behind: stop_behind.map(|line| (line, stop)), lines: Mutex::default() });
    let listener: Arc<dyn ProgressListener> = Arc::clone(&told) as _;
    let outcome = run_local(launch, listener);
    let lines = told.lines.lock().unwrap().clone();
    (outcome, lines)
}

/// The last sum of each key.
type Last = Arc<Mutex<BTreeMap<u64, (String, String, u64, u64)>>>;

#[test]
fn state_with_foreign_types_is_restored() {
    let directory = TempDir::new().unwrap();
    let last = Last::default();
    let job = |last: &Last| {
        let last = Arc::clone(last);
        move |job: &mut Job| {
            let last = Arc::clone(&last);
            job.source("orders", GenerateSource::bounded(ORDERS, order).rate(10_000.0))
                .key_by(|order| order.number % KEYS)
                .reduce("sums", add)
                .inspect(move |sum| {
                    let of = (
                        sum.price.to_string(),
                        sum.extra["of"].to_string(),
                        sum.sparse.count,
                        sum.seen["all"],
                    );
                    last.lock().unwrap().insert(sum.number % KEYS, of);
                })
                .sink("out", DiscardSink::new());
        }
    };
    let (outcome, _) = run(directory.path(), Some("checkpoint 2 complete"), job(&last));
    assert_eq!(outcome.status, OutcomeStatus::Suspended, "{:?}", outcome.error);
    let (outcome, lines) = run(directory.path(), None, job(&last));
    assert_eq!(outcome.status, OutcomeStatus::Finished, "{:?}", outcome.error);
    assert!(lines.iter().any(|line| line.contains("from checkpoint")), "{lines:?}");
    let per_key = ORDERS / KEYS;
    for (key, (price, of, count, all)) in &*last.lock().unwrap() {
        let sum: u64 = (0..per_key).map(|n| key + n * KEYS).sum();
        assert_eq!((price, of), (&Decimal::new(sum as i64, 2).to_string(), &sum.to_string()));
        assert_eq!((*count, *all), (per_key, per_key));
    }
}

/// Writes seconds, reads minutes.
#[derive(Clone)]
struct Rounded(u64);

impl Serialize for Rounded {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Rounded {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(|seconds| Self(seconds / 60))
    }
}

#[derive(Record, Clone)]
struct Stay {
    guest: u64,
    #[record(serde)]
    length: Rounded,
}

#[test]
fn a_type_that_does_not_read_back_fails_the_job_before_a_checkpoint_is_complete() {
    let directory = TempDir::new().unwrap();
    let starts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&starts);
    let (outcome, lines) = run(directory.path(), None, move |job| {
        counted.fetch_add(1, Ordering::Relaxed);
        job.source(
            "stays",
            GenerateSource::unbounded(|guest| Stay { guest, length: Rounded(90) }).rate(1000.0),
        )
        .key_by(|stay| stay.guest % 10)
        .reduce("longest", |longest, stay| longest.length.0 = longest.length.0.max(stay.length.0))
        .sink("out", DiscardSink::new());
    });
    assert_eq!(outcome.status, OutcomeStatus::Failed);
    let error = outcome.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::State);
    let text = error.to_string();
    for part in ["longest", "\"value\"", "type `Rounded`", "reads back another value", "Correct the type's"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!lines.iter().any(|line| line.contains("complete")), "{lines:?}");
}

#[derive(Record, Clone)]
struct Tree {
    nodes: Vec<Node>,
}

#[derive(Record, Clone)]
struct Node {
    trees: BTreeMap<u64, Tree>,
}

#[test]
fn records_that_contain_each_other_are_refused_where_they_are_declared() {
    let mut job = Job::new();
    let line = line!() + 4;
    job.source("numbers", CollectionSource::new(vec![1u64]))
        .map(|_| Tree { nodes: vec![Node { trees: BTreeMap::new() }] })
        .key_by(|tree| tree.nodes.len() as u64)
        .reduce("forest", |_, _| {})
        .sink("out", DiscardSink::new());
    let error = plumbing::finish(job).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Settings);
    let text = error.to_string();
    let state = format!("{}:{line}:", file!());
    let state =
        text.lines().find(|mistake| mistake.starts_with(&state) && mistake.contains("state \"value\""));
    let circle = "`Tree`, which contains `Node`, which contains `Tree` again";
    assert!(state.is_some_and(|mistake| mistake.contains(circle)), "{text}");
}
