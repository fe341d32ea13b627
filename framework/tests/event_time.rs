//! Event time across a whole job: who needs watermarks and does not get any, and what an idle source holds back.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use flott::{plumbing, prelude::*};
use flott_cluster::{ClusterSettings, JobLaunch, OutcomeStatus, Silent, Termination, run_local};

/// Calls back for each number at its event time.
#[derive(Operator)]
struct AtEventTime {
    #[timer]
    due: EventTimer,
}

#[operator]
impl AtEventTime {
    fn process(&mut self, _n: u64, context: &Context) -> Result<()> {
        self.due.set(context.event_time);
        Ok(())
    }

    fn on_due(&mut self, key: &u64, out: &mut Output<u64>) -> Result<()> {
        out.emit(*key);
        Ok(())
    }
}

/// Gives each number back after a while of processing time. Also on its side output.
#[derive(Operator)]
struct Delayed {
    #[timer]
    due: ProcessingTimer,
    #[side_output]
    again: SideOutput<u64>,
    delay: Duration,
}

#[operator]
impl Delayed {
    fn process(&mut self, _n: u64, context: &Context) -> Result<()> {
        self.due.set(context.processing_time + self.delay);
        Ok(())
    }

    fn on_due(&mut self, key: &u64, out: &mut Output<u64>) -> Result<()> {
        out.emit(*key);
        self.again.emit(*key);
        Ok(())
    }
}

fn numbers() -> CollectionSource<u64> {
    CollectionSource::new(0..10u64)
}

fn seconds() -> TumblingWindows {
    TumblingWindows::of(Duration::from_secs(1))
}

#[test]
fn what_needs_event_time_is_refused_without_watermarks() {
    let mut job = Job::new();
    let plain = job.source("plain", numbers());
    let source = line!() - 1;
    let timed = job.source("timed", numbers()).watermarks(Watermarks::monotonous());
    // Processing-time timers and reductions need none.
    let delayed = plain.key_by(|n| *n).process("delayed", Delayed::new(Duration::ZERO));
    delayed.clone().key_by(|n| *n).reduce("sums", |sum, n| *sum += n).sink("sums-out", DiscardSink::new());
    timed.clone().key_by(|n| *n).window(seconds()).count("timed-counts").sink("a", DiscardSink::new());

    let windows = timed.union(delayed.clone()).key_by(|n| *n).window(seconds());
    let (counts, counts_line) = (windows.count("counts"), line!());
    counts.sink("b", DiscardSink::new());
    let again = delayed.side_output::<u64>("again").map(|n| n + 1).key_by(|n| *n);
    let (timers, timers_line) = (again.process("timers", AtEventTime::new()), line!());
    timers.sink("c", DiscardSink::new());

    let error = plumbing::finish(job).err().unwrap();
    assert_eq!(error.kind().exit_code(), 3);
    let text = error.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    for (line, (uid, at)) in lines.iter().zip([("counts", counts_line), ("timers", timers_line)]) {
        assert!(line.starts_with(&format!("{}:{at}:", file!())), "{line}");
        assert!(line.contains(&format!("operator {uid:?} needs event time")), "{line}");
        assert!(line.contains(&format!("source \"plain\" ({}:{source}:", file!())), "{line}");
        for way_out in [".watermarks(Watermarks::bounded(…))", ".watermarks(Watermarks::none())"] {
            assert!(line.contains(way_out), "{line}");
        }
    }
}

#[test]
fn who_means_it_gets_windows_at_the_end_of_the_input() {
    let mut job = Job::new();
    let plain = job.source("plain", numbers()).watermarks(Watermarks::none());
    plain.key_by(|n| *n).window(seconds()).count("counts").sink("out", DiscardSink::new());
    let graph = plumbing::finish(job).unwrap().graph;
    assert!(graph.operators[1].needs_event_time);
}

/// Runs a job to its end, with one subtask of each operator.
fn run(build: impl Fn(&mut Job) + Send + Sync + 'static) {
    let (_keep, terminate) = Termination::by_hand();
    let launch = JobLaunch {
        job_name: "test".into(),
        build_id: "test".into(),
        parameters: serde_json::Value::Null,
        settings: ClusterSettings { parallelism: 1, ..ClusterSettings::default() },
        build_program: Arc::new(move |_, _| {
            let mut job = Job::new();
            build(&mut job);
            plumbing::finish(job)
        }),
        terminate,
    };
    let outcome = run_local(launch, Arc::new(Silent));
    assert_eq!(outcome.status, OutcomeStatus::Finished, "{:?}", outcome.error);
}

/// A source becomes idle, and then a processing-time timer behind it emits: that does not make it active.
#[test]
fn windows_go_on_when_an_idle_task_emits() {
    let (newest, at_second_record) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(-1)));
    let (seen, noted) = (Arc::clone(&newest), Arc::clone(&at_second_record));
    run(move |job| {
        let watermarks = || Watermarks::monotonous().event_time(|n| EventTime(*n as i64));
        let (newest, noted) = (Arc::clone(&seen), Arc::clone(&noted));
        // Speaks after 1.25 s and after 2.5 s, and is idle meanwhile.
        let rare = job
            .source("rare", GenerateSource::bounded(2, |n| n).splits(1).rate(0.8))
            .watermarks(watermarks().idleness(Duration::from_millis(200)))
            .inspect(move |n| {
                if *n == 1 {
                    noted.store(newest.load(Ordering::Relaxed), Ordering::Relaxed);
                }
            })
            .key_by(|_| 0u64)
            .process("delayed", Delayed::new(Duration::from_millis(300)));
        // A record per millisecond for 1.9 s, with event times that go along.
        let frequent = job
            .source("frequent", GenerateSource::bounded(1900, |n| n).splits(1).rate(1000.0))
            .watermarks(watermarks());
        let newest = Arc::clone(&seen);
        rare.union(frequent)
            .filter(|n| *n > 0)
            .key_by(|_| 0u64)
            .window(TumblingWindows::of(Duration::from_millis(100)))
            .count("counts")
            .inspect(move |(_, window, _)| {
                newest.fetch_max(window.end.0, Ordering::Relaxed);
            })
            .sink("out", DiscardSink::new());
    });
    let newest = at_second_record.load(Ordering::Relaxed);
    assert!(newest >= 1800, "the newest window ended at {newest} ms when the idle source spoke again");
}
