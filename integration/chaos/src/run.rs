//! From the first process to the verdict.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use flott_cards::kafka::Topics;
use xtask::{
    clock::Stopwatch,
    job,
    kafka::{BrokerSettings, KafkaAvailability, KafkaBroker, KafkaLibraries, VERSION, availability},
};

use crate::{
    Arguments,
    ablation::Ablation,
    crew::{Crew, TERMINATED, settings},
    error::{Error, Result},
    feed::{Fed, Feed},
    plan::Plan,
    standstill::Standstill,
    storm::Storm,
    tail::Tail,
    verdict::{Verdict, compare},
};

/// How often the state is shown.
const SHOW_INTERVAL: Duration = Duration::from_secs(5);
/// A job that gets no further for so long after the storm never will.
const STANDSTILL_MAX: Duration = Duration::from_secs(90);
/// From the last total until what else belongs to the input is out and committed.
const SETTLING_TIME: Duration = Duration::from_secs(2);
const END_PATIENCE: Duration = Duration::from_secs(60);

/// Runs a storm.
pub(crate) fn run(arguments: &Arguments) -> Result<Verdict> {
    Ablation::check(arguments.without)?;
    let job = match (&arguments.binary, arguments.without) {
        (Some(binary), _) => binary.clone(),
        (None, without) => {
            step("building card-alerts (release)");
            let package = env!("CARGO_PKG_NAME");
            without.map_or_else(|| job::release(package), |_| job::release_with(package, "ablation"))?
        }
    };
    let libraries = match availability() {
        KafkaAvailability::Available(libraries) => libraries,
        KafkaAvailability::Unavailable { reason } => {
            return Err(Error::Refused(format!(
                "there is no Kafka, without which there is no storm: {reason}"
            )));
        }
    };
    let directory = tempfile::Builder::new().prefix("flott-chaos-").tempdir();
    let directory =
        directory.map_err(|source| Error::Io { what: "cannot use a directory".into(), source })?;
    let verdict = play(arguments, &job, libraries, directory.path());
    if arguments.keep || !verdict.as_ref().is_ok_and(Verdict::is_good) {
        step(&format!("what the processes wrote: {}", directory.keep().display()));
    }
    verdict
}

fn play(arguments: &Arguments, job: &Path, libraries: &KafkaLibraries, directory: &Path) -> Result<Verdict> {
    step(&format!("starting Apache Kafka {VERSION}"));
    // So that it is back soon after it was killed.
    let broker = BrokerSettings::new(directory.join("kafka")).property("broker.session.timeout.ms", "3000");
    let mut broker = KafkaBroker::start_with(libraries, broker)?;
    let topics = Topics::new(broker.bootstrap(), "storm-");
    topics.create(arguments.partitions)?;

    let binary = copy(job, directory)?;
    let binary = match arguments.without {
        Some(ablation) => ablation.wrap(&binary, directory)?,
        None => binary,
    };
    step("starting 1 JobManager, 2 TaskManagers and 1 standby");
    let mut crew = Crew::start(&binary, directory, job_arguments(arguments, &topics))?;
    let feed = Feed::start(&topics, arguments.seed, arguments.rate)?;
    let tail = Tail::start(&topics, arguments.partitions)?;
    let watch = Stopwatch::start();
    let mut storm = Storm::new(
        &mut crew,
        &mut broker,
        Plan::new(arguments.seed, arguments.without).only(&arguments.only),
    );

    let (fed, standstill) = weather(arguments, &mut storm, feed, &tail)?;
    let (tally, lost_reported) = (storm.tally.clone(), storm.lost_reported);
    let is_stopped = storm.is_stopped;
    let is_ended = !is_stopped && end(&mut crew)?;
    step("reading the answers and comparing");
    let comparison = compare(&topics, fed)?;
    comparison.to_string().lines().for_each(step);
    Ok(Verdict {
        seed: arguments.seed,
        without: arguments.without,
        seconds: watch.elapsed().as_secs_f64(),
        records: fed.records,
        checkpoints: crew.checkpoints(),
        recoveries: crew.deployments().saturating_sub(1),
        standstill,
        tally,
        missing: comparison.missing(),
        duplicated: comparison.duplicated(),
        wrong: comparison.wrong(),
        lost_reported,
        surprises: std::mem::take(&mut crew.surprises),
        is_ended,
    })
}

/// A copy of the job's binary: whoever builds it meanwhile would make the cluster refuse all processes that are started
/// from then on.
fn copy(job: &Path, directory: &Path) -> Result<PathBuf> {
    let copy = directory.join("card-alerts");
    let copied = std::fs::copy(job, &copy);
    copied.map_err(|source| Error::Io { what: format!("cannot copy {}", job.display()), source })?;
    Ok(copy)
}

fn job_arguments(arguments: &Arguments, topics: &Topics) -> Vec<String> {
    let (brokers, prefix) = (topics.bootstrap(), topics.prefix());
    let interval = if arguments.without == Some(Ablation::Quarantine) { "40ms" } else { "250ms" };
    let interval = arguments.checkpoint_interval.as_deref().unwrap_or(interval);
    let flags = ["--brokers", brokers, "--prefix", prefix, "--checkpoint-interval", interval];
    settings().into_iter().chain(flags.map(str::to_owned)).collect()
}

/// The storm and what follows it, until all totals are there or never will be.
fn weather(
    arguments: &Arguments,
    storm: &mut Storm<'_>,
    feed: Feed,
    tail: &Tail,
) -> Result<(Fed, Standstill)> {
    step(&format!("the storm rages for {} s", arguments.seconds));
    let (mut meter, mut standstill) = (Meter::default(), Standstill::default());
    storm.rage(|storm| {
        let elapsed = storm.elapsed();
        standstill.observe(elapsed, tail.records(), storm.is_disturbed());
        meter.show(elapsed, || {
            format!("fed {}, committed {}, faults {}", feed.sent(), tail.records(), tail.faults())
        });
        elapsed.as_secs() >= arguments.seconds || tail.faults() > 0
    })?;
    let strikes: u64 = storm.tally.faults.values().sum();
    let found = if tail.faults() > 0 { "; totals are missing or repeated" } else { "" };
    step(&format!("the storm is over after {strikes} strikes{found}"));
    storm.calm_down()?;
    let fed = feed.finish()?;

    storm.watch_over(|storm| {
        let records = tail.records();
        let quiet = standstill.observe(storm.elapsed(), records, storm.is_disturbed());
        meter.show(storm.elapsed(), || format!("committed {records} of {}", fed.records));
        // Where records were lost the number is never reached, and where some were repeated too early.
        let is_complete = records >= fed.records || tail.faults() > 0 && quiet > SETTLING_TIME * 3;
        is_complete || quiet > STANDSTILL_MAX
    })?;
    if tail.records() < fed.records {
        step(&format!("the job gets no further: {} of {} totals", tail.records(), fed.records));
    }
    let complete = storm.elapsed();
    storm.watch_over(|storm| storm.elapsed() - complete > SETTLING_TIME)?;
    Ok((fed, standstill))
}

/// Asks the job to end; whether it does so as it should.
fn end(crew: &mut Crew) -> Result<bool> {
    step("asking the job to end");
    let Some(jobmanager) = &mut crew.jobmanager else { return Ok(false) };
    jobmanager.terminate()?;
    let ended = jobmanager.wait_for_code(TERMINATED, END_PATIENCE);
    if let Err(error) = &ended {
        step(&error.to_string());
    }
    crew.kill_jobmanager();
    crew.kill_taskmanagers();
    Ok(ended.is_ok())
}

fn step(text: &str) {
    eprintln!("chaos: {text}");
}

/// A line now and then.
#[derive(Default)]
struct Meter {
    shown: Duration,
}

impl Meter {
    fn show(&mut self, elapsed: Duration, text: impl FnOnce() -> String) {
        if elapsed.saturating_sub(self.shown) >= SHOW_INTERVAL {
            self.shown = elapsed;
            eprintln!("chaos:   {:>4} s: {}", elapsed.as_secs(), text());
        }
    }
}
