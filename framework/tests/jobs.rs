//! Whole jobs in one process, through the public API: what comes out is what was asked for, whatever the parallelism and
//! however often the job fails on the way.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use flott::{
    Batch, CheckpointId, Clock, SystemClock,
    operator::{Readiness, StepTime},
    plumbing,
    prelude::*,
    sink::{DeliveryGuarantee, Sink, SinkWriter, WriterContext},
    snapshot::WriteList,
};
use flott_cluster::{ClusterSettings, JobLaunch, JobOutcome, OutcomeStatus, Silent, Termination, run_local};
use tempfile::TempDir;

/// Runs a job to its end.
fn run(
    settings: ClusterSettings,
    build: impl Fn(&mut Job) -> Result<()> + Send + Sync + 'static,
) -> JobOutcome {
    let (_keep, terminate) = Termination::by_hand();
    let launch = JobLaunch {
        job_name: "test".into(),
        build_id: "test".into(),
        parameters: serde_json::Value::Null,
        settings,
        build_program: Arc::new(move |_, _| {
            let mut job = Job::new();
            build(&mut job)?;
            plumbing::finish(job)
        }),
        terminate,
    };
    run_local(launch, Arc::new(Silent))
}

fn parallel(parallelism: u32) -> ClusterSettings {
    ClusterSettings {
        parallelism,
        checkpoint_interval: Duration::from_millis(50),
        ..ClusterSettings::default()
    }
}

fn assert_finished(outcome: &JobOutcome) {
    assert_eq!(outcome.status, OutcomeStatus::Finished, "{:?}", outcome.error);
}

/// All committed records of a file sink, sorted.
fn read(directory: &Path) -> Vec<serde_json::Value> {
    let mut records = Vec::new();
    let mut pending = vec![directory.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "jsonl") {
                let text = fs::read_to_string(path).unwrap();
                records.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
            }
        }
    }
    records.sort_by_key(ToString::to_string);
    records
}

#[derive(Record, Serialize, Deserialize)]
struct Reading {
    sensor: u64,
    value: i64,
    #[record(event_time)]
    at: EventTime,
}

fn reading(number: u64) -> Reading {
    // Out of order by up to 90 ms.
    let at = number as i64 * 10 + (number * 7 % 10) as i64 * 9;
    Reading { sensor: number % 50, value: number as i64 % 13, at: EventTime(at) }
}

const READINGS: u64 = 20_000;

/// Per sensor, numbers the readings and sums them up; a reading of 12 starts a timer that reports the sum so far.
#[derive(Operator)]
struct Summing {
    #[state]
    sum: ValueState<i64>,
    #[state]
    seen: MapState<i64, u32>,
    #[timer]
    report: EventTimer,
    #[side_output]
    highs: SideOutput<u64>,
    fail_at: u64,
    failures: Failures,
}

/// How often the operator still has to fail, over all attempts.
type Failures = Arc<AtomicU32>;

#[operator]
impl Summing {
    fn process(&mut self, reading: Reading, key: &u64, out: &mut Output<(u64, i64, String)>) -> Result<()> {
        let count = self.seen.get(&reading.value).copied().unwrap_or(0) + 1;
        self.seen.insert(reading.value, count);
        let sum = self.sum.get_or_insert_with(|| 0);
        *sum += reading.value;
        if reading.value == 12 {
            self.highs.emit(*key);
            self.report.set(reading.at + Duration::from_millis(500));
        }
        let is_due = reading.at.0 as u64 / 10 >= self.fail_at;
        if is_due
            && self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
        {
            return Err(Error::user("asked to fail"));
        }
        out.emit((*key, count.into(), "count".into()));
        Ok(())
    }

    fn on_report(&mut self, key: &u64, out: &mut Output<(u64, i64, String)>) -> Result<()> {
        let kinds = self.seen.len() as i64;
        out.emit((*key, kinds, "kinds".into()));
        Ok(())
    }
}

fn declare(job: &mut Job, output: &Path, fail_at: u64, failures: &Failures) {
    let readings = job
        .source("readings", GenerateSource::bounded(READINGS, reading).splits(4).rate(40_000.0))
        .watermarks(Watermarks::bounded(Duration::from_millis(100)));
    let sums = readings
        .clone()
        .filter(|reading| reading.sensor != 49)
        .key_by(|reading| reading.sensor)
        .process("sums", Summing::new(fail_at, Arc::clone(failures)));
    sums.side_output::<u64>("highs").sink("highs-out", FileSink::json_lines(output.join("highs")));
    sums.sink("sums-out", FileSink::json_lines(output.join("sums")));
    readings
        .key_by(|reading| reading.sensor % 5)
        .window(TumblingWindows::of(Duration::from_secs(1)))
        .count("per-second")
        .map(|count| format!("{count:?}"))
        .sink("counts", FileSink::json_lines(output.join("counts")));
}

fn outputs(parallelism: u32, failures: u32) -> BTreeMap<&'static str, Vec<serde_json::Value>> {
    let directory = TempDir::new().unwrap();
    let output = directory.path().to_path_buf();
    let left = Failures::new(AtomicU32::new(failures));
    let counted = Arc::clone(&left);
    let outcome = run(parallel(parallelism), move |job| {
        declare(job, &output, READINGS / 2, &left);
        Ok(())
    });
    assert_finished(&outcome);
    assert_eq!(counted.load(Ordering::Relaxed), 0, "the operator has failed as often as asked");
    // Subtasks may fail together.
    let restarts = outcome.summary.restarts;
    assert!(restarts <= u64::from(failures) && (restarts > 0 || failures == 0), "{restarts} restarts");
    ["sums", "highs", "counts"].map(|name| (name, read(&directory.path().join(name)))).into()
}

#[test]
fn results_do_not_depend_on_parallelism_or_failures() {
    let expected = outputs(1, 0);
    let passed = (0..READINGS).filter(|number| number % 50 != 49).count();
    let counts = expected["sums"].iter().filter(|record| record[2] == "count").count();
    assert_eq!(counts, passed);
    assert!(expected["sums"].len() > counts, "timers have fired");
    assert!(!expected["highs"].is_empty() && !expected["counts"].is_empty());
    for (parallelism, failures) in [(1, 2), (3, 0), (3, 2)] {
        let actual = outputs(parallelism, failures);
        for (name, records) in &expected {
            assert_eq!(
                &actual[name], records,
                "{name} with parallelism {parallelism} and {failures} failures"
            );
        }
    }
}

#[test]
fn closures_unions_and_rebalance_lose_nothing() {
    let directory = TempDir::new().unwrap();
    let output = directory.path().to_path_buf();
    let outcome = run(parallel(2), move |job| {
        let small = job.source("small", CollectionSource::new(0..500u64)).flat_map(|n| [n, n]).map(|n| n / 2);
        let large = job.source("large", CollectionSource::new(1000..1500u64)).try_map(Ok).inspect(|_| {});
        small
            .union(large)
            .rebalance()
            .filter(|n| n % 2 == 0)
            .sink("out", FileSink::json_lines(output.clone()));
        Ok(())
    });
    assert_finished(&outcome);
    let mut expected: Vec<u64> =
        (0..500).flat_map(|n| [n / 2, n / 2]).chain(1000..1500).filter(|n| n % 2 == 0).collect();
    let mut actual: Vec<u64> = read(directory.path()).iter().map(|n| n.as_u64().unwrap()).collect();
    expected.sort_unstable();
    actual.sort_unstable();
    assert_eq!(actual, expected);
}

/// Its writers commit in the background, for a number of ticks.
struct SlowSink {
    ticks: u32,
    commits: Arc<Commits>,
}

/// Over all writers.
#[derive(Default)]
struct Commits {
    begun: AtomicU32,
    open: AtomicU32,
}

struct SlowWriter {
    ticks: u32,
    ticks_left: u32,
    commits: Arc<Commits>,
}

impl Sink for SlowSink {
    type In = u64;
    fn writer(&self, _context: &WriterContext) -> Result<Box<dyn SinkWriter<In = u64>>> {
        let (ticks, commits) = (self.ticks, Arc::clone(&self.commits));
        Ok(Box::new(SlowWriter { ticks, ticks_left: 0, commits }))
    }
    fn guarantee(&self) -> DeliveryGuarantee {
        DeliveryGuarantee::ExactlyOnce
    }
    fn description(&self) -> String {
        "nowhere".into()
    }
}

impl SinkWriter for SlowWriter {
    type In = u64;
    fn write(&mut self, _batch: &mut Batch<u64>) -> Result<()> {
        Ok(())
    }
    fn precommit(&mut self, _checkpoint: CheckpointId) -> Result<WriteList> {
        Ok(Box::new(|| Ok(Vec::new())))
    }
    fn commit(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        self.commits.begun.fetch_add(1, Ordering::Relaxed);
        if self.ticks_left == 0 {
            self.commits.open.fetch_add(1, Ordering::Relaxed);
        }
        self.ticks_left = self.ticks;
        Ok(())
    }
    fn has_committed(&self, _checkpoint: CheckpointId) -> bool {
        self.ticks_left == 0
    }
    fn advance(&mut self, _time: StepTime) -> Result<()> {
        if self.ticks_left > 0 {
            self.ticks_left -= 1;
            if self.ticks_left == 0 {
                self.commits.open.fetch_sub(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Nothing comes in while the sinks commit, and one of the two slots has no source to poll.
#[test]
fn a_bounded_job_ends_soon_after_the_last_of_its_sinks_has_committed() {
    let commits = Arc::new(Commits::default());
    let counted = Arc::clone(&commits);
    let begin = SystemClock.now();
    let outcome = run(parallel(2), move |job| {
        let sink = |ticks| SlowSink { ticks, commits: Arc::clone(&commits) };
        let numbers = job.source("numbers", CollectionSource::new(0..10u64)).parallelism(1).rebalance();
        let kept = numbers.filter(|_| true);
        kept.clone().sink("slow", sink(100));
        kept.sink("fast", sink(3));
        Ok(())
    });
    assert_finished(&outcome);
    assert!(counted.begun.load(Ordering::Relaxed) >= 4, "two sinks of two subtasks");
    assert_eq!(counted.open.load(Ordering::Relaxed), 0);
    // A slot that waits for nothing else is stepped ten times per second.
    assert!(SystemClock.now().since(begin) < Duration::from_secs(5));
}

/// Its writer has room for one batch per tick.
struct NarrowSink(Arc<Narrow>);

#[derive(Default)]
struct Narrow {
    written: AtomicUsize,
    /// Maximum number of records that came though there was no room.
    overrun: AtomicUsize,
}

struct NarrowWriter {
    narrow: Arc<Narrow>,
    has_room: bool,
    overrun: usize,
}

impl Sink for NarrowSink {
    type In = u64;
    fn writer(&self, _context: &WriterContext) -> Result<Box<dyn SinkWriter<In = u64>>> {
        Ok(Box::new(NarrowWriter { narrow: Arc::clone(&self.0), has_room: true, overrun: 0 }))
    }
    fn guarantee(&self) -> DeliveryGuarantee {
        DeliveryGuarantee::AtLeastOnce
    }
    fn description(&self) -> String {
        "nowhere".into()
    }
}

impl SinkWriter for NarrowWriter {
    type In = u64;
    fn write(&mut self, batch: &mut Batch<u64>) -> Result<()> {
        self.narrow.written.fetch_add(batch.len(), Ordering::Relaxed);
        if !std::mem::take(&mut self.has_room) {
            self.overrun += batch.len();
            self.narrow.overrun.fetch_max(self.overrun, Ordering::Relaxed);
        }
        Ok(())
    }
    fn readiness(&self) -> Result<Readiness> {
        Ok(if self.has_room { Readiness::Ready } else { Readiness::Full })
    }
    fn precommit(&mut self, _checkpoint: CheckpointId) -> Result<WriteList> {
        Ok(Box::new(|| Ok(Vec::new())))
    }
    fn commit(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }
    fn advance(&mut self, _time: StepTime) -> Result<()> {
        (self.has_room, self.overrun) = (true, 0);
        Ok(())
    }
}

/// Source, window and sink are one chain. All windows become due at the end of the input.
#[test]
fn a_million_due_windows_wait_for_the_room_of_the_sink() {
    const WINDOWS: usize = 1_000_000;
    let narrow = Arc::new(Narrow::default());
    let counted = Arc::clone(&narrow);
    let outcome = run(parallel(1), move |job| {
        let times = Watermarks::bounded(Duration::from_secs(3600)).event_time(|n: &u64| EventTime(*n as i64));
        job.source("numbers", CollectionSource::new(0..WINDOWS as u64))
            .watermarks(times)
            .key_by(|n| n % 2)
            .window(TumblingWindows::of(Duration::from_millis(1)))
            .count("windows")
            .map(|_| 1)
            .sink("out", NarrowSink(Arc::clone(&narrow)));
        Ok(())
    });
    assert_finished(&outcome);
    assert_eq!(counted.written.load(Ordering::Relaxed), WINDOWS);
    let overrun = counted.overrun.load(Ordering::Relaxed);
    assert!(overrun <= 2 * flott::BATCH_RECORDS_MAX, "{overrun} records without room");
}

#[test]
fn a_small_list_is_rebalanced_evenly() {
    let directory = TempDir::new().unwrap();
    let output = directory.path().to_path_buf();
    let outcome = run(parallel(4), move |job| {
        job.source("list", CollectionSource::new(0..1000u64))
            .rebalance()
            .sink("out", FileSink::json_lines(output.clone()));
        Ok(())
    });
    assert_finished(&outcome);
    // The last part of a file's name is the subtask that wrote it.
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for entry in fs::read_dir(directory.path().join("out")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let subtask = path.file_stem().unwrap().to_str().unwrap().rsplit('-').next().unwrap().to_owned();
            *counts.entry(subtask).or_default() += fs::read_to_string(path).unwrap().lines().count();
        }
    }
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [250; 4]);
}

/// Reports each key once, a moment after it was first seen.
#[derive(Operator)]
struct Delayed {
    #[timer]
    fire: ProcessingTimer,
}

#[operator]
impl Delayed {
    fn process(&mut self, _n: u64, context: &Context) -> Result<()> {
        self.fire.set(context.processing_time + Duration::from_millis(20));
        Ok(())
    }

    fn on_fire(&mut self, key: &u64, out: &mut Output<u64>) -> Result<()> {
        out.emit(*key);
        Ok(())
    }
}

#[test]
fn processing_time_timers_fire() {
    let directory = TempDir::new().unwrap();
    let output = directory.path().to_path_buf();
    let outcome = run(parallel(2), move |job| {
        job.source("numbers", GenerateSource::bounded(600, |n| n % 10).rate(1000.0))
            .key_by(|n| *n)
            .process("delayed", Delayed::new())
            .sink("out", FileSink::json_lines(output.clone()));
        Ok(())
    });
    assert_finished(&outcome);
    let fired = read(directory.path()).len();
    assert!(fired >= 50, "{fired} timers have fired");
}

fn failing(restarts: u32, function: fn(u64) -> Result<u64>) -> JobOutcome {
    let settings = ClusterSettings {
        restart_attempts: restarts,
        restart_initial_delay: Duration::from_millis(10),
        ..parallel(1)
    };
    run(settings, move |job| {
        job.source("numbers", CollectionSource::new(0..100u64))
            .try_map(function)
            .sink("out", DiscardSink::new());
        Ok(())
    })
}

#[test]
fn user_errors_and_panics_fail_the_job_by_name() {
    let outcome = failing(2, |n| if n == 50 { Err(Error::user("fifty is too much")) } else { Ok(n) });
    assert_eq!(outcome.status, OutcomeStatus::Failed);
    let error = outcome.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(
        error.to_string().contains("fifty is too much") && error.to_string().contains("numbers"),
        "{error}"
    );

    let outcome = failing(1, |n| if n == 50 { panic!("fifty again") } else { Ok(n) });
    assert_eq!(outcome.status, OutcomeStatus::Failed);
    assert!(outcome.error.unwrap().to_string().contains("fifty again"));
}

#[test]
fn a_record_that_fails_after_every_restart_ends_the_job_and_its_position_is_named() {
    let outcome = failing(0, |n| if n == 50 { Err(Error::user("fifty is too much")) } else { Ok(n) });
    assert_eq!((outcome.status, outcome.summary.restarts), (OutcomeStatus::Failed, 2));
    let error = outcome.error.unwrap().to_string();
    for part in [
        "3 times in the same way",
        "same_failure_attempts",
        "fifty is too much",
        "source \"numbers\", numbers 0 to 99",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn the_summary_counts_every_record_once_though_some_were_read_again() {
    for (parallelism, failures) in [(1, 0), (2, 2)] {
        let directory = TempDir::new().unwrap();
        let output = directory.path().to_path_buf();
        let left = Failures::new(AtomicU32::new(failures));
        let outcome = run(parallel(parallelism), move |job| {
            declare(job, &output, READINGS / 2, &left);
            Ok(())
        });
        assert_finished(&outcome);
        assert_eq!(outcome.summary.restarts > 0, failures > 0);
        let written = |name: &str| read(&directory.path().join(name)).len() as u64;
        let counted = |uid: &str| {
            let counters =
                outcome.summary.operators.iter().find(|(known, _)| known.as_str() == uid).unwrap().1;
            (counters.records_in, counters.records_out)
        };
        assert_eq!(counted("readings"), (READINGS, READINGS));
        assert_eq!(counted("sums-out").0, written("sums"));
        assert_eq!(counted("highs-out").0, written("highs"));
        assert_eq!(counted("counts").0, written("counts"));
    }
}

#[test]
fn mistakes_in_the_declaration_are_all_reported() {
    let outcome = run(parallel(1), |job| {
        let numbers = job.source("numbers", CollectionSource::new(0..10u64)).erased();
        numbers.clone().key_by(|n| *n).reduce("a/b", |sum, n| *sum += n).sink("numbers", DiscardSink::new());
        numbers.side_output::<u64>("late").sink("late", DiscardSink::new());
        // The check of a side output's name and type outlives `erased`.
        let keyed = numbers.map(|n| (n, n)).key_by(|(n, _)| *n);
        let late = keyed.window(TumblingWindows::of(Duration::from_secs(1))).count("counts").erased();
        late.side_output::<(u64, u64)>("late").sink("late-pairs", DiscardSink::new());
        late.side_output::<u64>("late").sink("late-numbers", DiscardSink::new());
        late.side_output::<(u64, u64)>("late").side_output::<u64>("late").sink("twice", DiscardSink::new());
        late.sink("out", DiscardSink::new());
        Ok(())
    });
    assert_eq!(outcome.status, OutcomeStatus::Failed);
    let error = outcome.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Settings);
    let text = error.to_string();
    for expected in [
        "contains '/'",
        "\"numbers\" is given to two operators",
        "\"numbers\" has no side output \"late\"",
        "side output \"late\" of operator \"counts\" is read as another type",
        "\"counts\" has no side output \"late\"; it declares [\"late\"]. Call side_output right after the operator",
        "operator \"counts\" needs event time",
    ] {
        assert_eq!(text.matches(expected).count(), 1, "{expected} in {text}");
    }
    assert_eq!(text.lines().count(), 6, "{text}");
}

#[test]
fn a_uid_that_is_given_twice_is_found_at_both_places() {
    let mut job = Job::new();
    let numbers = job.source("numbers", CollectionSource::new(vec![1u64]));
    let keyed = numbers.key_by(|n| *n);
    let source = line!() - 2;
    let sums = keyed.clone().reduce("sums", |sum, n| *sum += n);
    sums.sink("numbers", DiscardSink::new());
    let windows = keyed.window(TumblingWindows::of(Duration::from_secs(1)));
    let counts = windows.count("sums");
    counts.sink("a/b", DiscardSink::new());
    let text = plumbing::finish(job).err().unwrap().to_string();
    let lines: Vec<_> = text.lines().collect();
    let at = |line: u32| format!("{}:{}:", file!(), source + line);
    assert!(lines[0].starts_with(&at(4)) && lines[0].contains(&at(0)), "{text}");
    assert!(lines[1].starts_with(&at(6)) && lines[1].contains(&at(3)), "{text}");
    assert!(lines[2].starts_with(&at(7)) && lines[2].contains("contains '/'"), "{text}");
}

#[test]
fn thousands_of_operators_without_a_name_get_one_each() {
    let mut job = Job::new();
    let mut numbers = job.source("numbers", CollectionSource::new(vec![1u64])).erased();
    for _ in 0..3000 {
        numbers = numbers.map(|n| n).erased();
    }
    numbers.sink("out", DiscardSink::new());
    let operators = plumbing::finish(job).unwrap().graph.operators;
    assert_eq!(operators[2].uid.as_str(), "numbers-map-map");
    assert_eq!(operators.len(), 3002);
}
