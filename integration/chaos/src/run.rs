//! From the first process to the verdict.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use flott_cards::{kafka::Topics, process::make_secret};
use xtask::{
    clock::Stopwatch,
    job,
    kafka::{BrokerSettings, KafkaAvailability, KafkaCluster, KafkaLibraries, VERSION, availability},
};

use crate::{
    Arguments,
    ablation::Ablation,
    crew::{Crew, CrewSpec, TERMINATED, settings},
    error::{Error, Result},
    feed::{Fed, Feed},
    login::Login,
    logs::Logs,
    plan::Plan,
    stalling_store::StallingStore,
    standstill::Standstill,
    storm::Storm,
    surroundings::Surroundings,
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
    let count = arguments.brokers;
    step(&format!("starting Apache Kafka {VERSION}, {count} brokers"));
    let (mut surroundings, topics, checkpoints) = surround(arguments, libraries, directory)?;

    let binary = copy(job, directory)?;
    let binary = match arguments.without {
        Some(ablation) => ablation.wrap(&binary, directory)?,
        None => binary,
    };
    step("starting 1 JobManager, 2 TaskManagers and 1 standby");
    let spec = CrewSpec {
        binary,
        directory: directory.to_owned(),
        checkpoints,
        arguments: job_arguments(arguments, topics.prefix(), &surroundings.login_bootstrap()),
        common: share_secret(directory)?,
    };
    let mut crew = Crew::start(spec)?;
    let feed = Feed::start(&topics, arguments.seed, arguments.rate)?;
    let tail = Tail::start(&topics, arguments.partitions)?;
    let watch = Stopwatch::start();
    let plan = Plan::new(arguments.seed, arguments.without).only(&arguments.only);
    let mut storm = Storm::new(&mut crew, &mut surroundings, plan);

    let (fed, standstill) = weather(arguments, &mut storm, feed, &tail)?;
    let tally = storm.tally.clone();
    let is_stopped = storm.is_stopped;
    let is_ended = !is_stopped && end(&mut crew)?;
    step("reading the answers and comparing");
    let comparison = compare(&topics, fed)?;
    comparison.to_string().lines().for_each(step);
    let logs = Logs::read(directory);
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
        lost_reported: logs.lost_records(),
        led_twice: logs.led_twice(),
        surprises: std::mem::take(&mut crew.surprises),
        is_ended,
    })
}

/// Brokers with a user for the job, topics, and a place for checkpoints.
fn surround(
    arguments: &Arguments,
    libraries: &KafkaLibraries,
    directory: &Path,
) -> Result<(Surroundings, Topics, PathBuf)> {
    // So that a broker is back soon after it was killed.
    let settings = BrokerSettings::new(directory.join("kafka"))
        .property("broker.session.timeout.ms", "3000")
        .login(Login::MECHANISM);
    let brokers = KafkaCluster::start_with(libraries, &settings, arguments.brokers.into())?;
    let topics = Topics::new(brokers.bootstrap(), "storm-");
    topics.create(arguments.partitions)?;
    let mut login = Login::new(libraries);
    login.change(brokers.bootstrap(), true)?;
    login.wait()?;
    let store = StallingStore::mount(directory);
    let store = store.inspect_err(|reason| step(&format!("the store will not stall: {reason}"))).ok();
    let place = store.as_ref().map_or(directory, StallingStore::path);
    let checkpoints = place.join("checkpoints");
    Ok((Surroundings::new(brokers, store, login), topics, checkpoints))
}

/// The flags by which all processes of the job prove to each other that they belong together.
fn share_secret(directory: &Path) -> Result<Vec<String>> {
    Ok(vec!["--secret-file".to_owned(), make_secret(directory)?.display().to_string()])
}

/// A copy of the job's binary: whoever builds it meanwhile would make the cluster refuse all processes that are started
/// from then on.
fn copy(job: &Path, directory: &Path) -> Result<PathBuf> {
    let copy = directory.join("card-alerts");
    let copied = std::fs::copy(job, &copy);
    copied.map_err(|source| Error::Io { what: format!("cannot copy {}", job.display()), source })?;
    Ok(copy)
}

fn job_arguments(arguments: &Arguments, prefix: &str, brokers: &str) -> Vec<String> {
    let interval = if arguments.without == Some(Ablation::Quarantine) { "40ms" } else { "250ms" };
    let interval = arguments.checkpoint_interval.as_deref().unwrap_or(interval);
    let flags = ["--brokers", brokers, "--prefix", prefix, "--checkpoint-interval", interval];
    let login = ["--user", Login::USER, "--password", Login::PASSWORD];
    let is_impatient = arguments.without == Some(Ablation::Refusals);
    let patience: &[&str] = if is_impatient { &["--set", "refusal_timeout=1ms"] } else { &[] };
    let flags = flags.iter().chain(&login).chain(patience).map(|&flag| flag.to_owned());
    settings().into_iter().chain(flags).collect()
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
