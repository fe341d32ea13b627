//! What happens in a run, whatever the transport.

use std::{fmt, path::Path, time::Duration};

use flott_cards::{
    Comparison,
    process::{Cluster, ClusterSpec},
};
use xtask::clock::{Stopwatch, pause};

use crate::{
    error::{Error, Result},
    show::{self, Meter, grouped},
    stage::Stage,
};

/// Two TaskManagers work, a third stands by.
const PARALLELISM: usize = 2;
const STANDBY: usize = 1;

const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// A run that gets no further for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(120);
/// From the end of the input to the end of the job.
const FINISH_PATIENCE: Duration = Duration::from_secs(300);

/// How a run ended.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    transport: &'static str,
    records: u64,
    alerts: u64,
    missing: u64,
    duplicated: u64,
    wrong: u64,
    recoveries: u64,
}

impl Verdict {
    /// Whether the run has shown what it should.
    pub(crate) fn is_good(&self) -> bool {
        self.missing + self.duplicated + self.wrong == 0 && self.recoveries > 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transport, records, alerts, missing, duplicated, wrong, recoveries } = self;
        write!(f, "transport {transport}, records in {records}, alerts out {alerts}, ")?;
        write!(f, "missing {missing}, duplicated {duplicated}, ")?;
        if *wrong > 0 {
            write!(f, "wrong {wrong}, ")?;
        }
        write!(f, "recoveries {recoveries}")
    }
}

/// Feeds, runs, kills, waits, compares.
pub(crate) fn play(binary: &Path, stage: &mut impl Stage, keep: bool) -> Result<Verdict> {
    let directory = tempfile::Builder::new().prefix("flott-demo-").tempdir()?;
    let played = run(binary, stage, directory.path());
    if keep || !played.as_ref().is_ok_and(Verdict::is_good) {
        show::step(&format!("what the processes wrote: {}", directory.keep().display()));
    }
    stage.clean_up()?;
    played
}

fn run(binary: &Path, stage: &mut impl Stage, directory: &Path) -> Result<Verdict> {
    let expected = stage.prepare()?;

    show::step(&format!("starting 1 JobManager, {PARALLELISM} TaskManagers and {STANDBY} standby"));
    let mut arguments = vec!["--parallelism".to_owned(), PARALLELISM.to_string()];
    arguments.extend(stage.arguments());
    let spec = ClusterSpec {
        binary: binary.to_owned(),
        directory: directory.to_owned(),
        arguments,
        secret_file: None,
    };
    let watch = Stopwatch::start();
    let mut cluster = Cluster::start(spec, PARALLELISM + STANDBY)?;

    let mut meter = Meter::new("processed", stage.progress()?.1);
    await_progress(&mut cluster, stage, &mut meter, |written, _| written > 0)?;
    show::step(&format!("the first payments are processed after {:.1} s", watch.elapsed().as_secs_f64()));
    await_progress(&mut cluster, stage, &mut meter, |written, expected| written >= expected / 2)?;
    kill_one(&mut cluster, stage, &mut meter)?;
    await_progress(&mut cluster, stage, &mut meter, |written, expected| written >= expected)?;
    cluster.wait_until_finished(FINISH_PATIENCE)?;
    let seconds = watch.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = stage.records() as f64 / seconds / 1e6;
    show::step(&format!("FINISHED after {seconds:.1} s, {rate:.2} M payments/s with start and recovery"));

    show::step("reading the answers and comparing");
    let given = stage.answers()?;
    let comparison = Comparison::new(&expected, &given);
    comparison.to_string().lines().for_each(show::step);
    let recoveries = cluster.restarts();
    Ok(Verdict {
        transport: stage.transport(),
        records: stage.records(),
        alerts: given.alerts.len() as u64,
        missing: comparison.missing(),
        duplicated: comparison.duplicated(),
        wrong: comparison.wrong(),
        recoveries: recoveries.ok_or_else(|| {
            Error::Cards(cluster.jobmanager().failure("does not say how often the job was restarted"))
        })?,
    })
}

/// Waits until enough is written, or the job has ended.
fn await_progress(
    cluster: &mut Cluster,
    stage: &impl Stage,
    meter: &mut Meter,
    mut is_enough: impl FnMut(u64, u64) -> bool,
) -> Result<()> {
    let mut last = (0, Stopwatch::start());
    loop {
        let (written, expected) = stage.progress()?;
        meter.show(written);
        if is_enough(written, expected) || !cluster.jobmanager().is_running() {
            return Ok(());
        }
        if written != last.0 {
            last = (written, Stopwatch::start());
        } else if last.1.elapsed() > PATIENCE {
            let what = format!("gets no further for {} s", PATIENCE.as_secs());
            return Err(Error::Cards(cluster.jobmanager().failure(&what)));
        }
        pause(POLL_INTERVAL);
    }
}

/// Kills a TaskManager that works, and says how long no record came out.
fn kill_one(cluster: &mut Cluster, stage: &impl Stage, meter: &mut Meter) -> Result<()> {
    if !cluster.jobmanager().is_running() {
        let ended =
            cluster.jobmanager().failure("ended before a TaskManager could be killed; use more --records");
        return Err(Error::Cards(ended));
    }
    let victim = cluster.busiest_taskmanager()?;
    let (name, id) = (victim.name().to_owned(), victim.id());
    victim.kill9();
    let watch = Stopwatch::start();
    let (at_kill, expected) = stage.progress()?;
    let done = grouped(at_kill * 100 / expected.max(1));
    show::step(&format!("kill -9 of {name} (process {id}) at {done} %"));

    // The others write for a moment until they are stopped, and then recovery removes pending files.
    let (mut least, some) = (at_kill, expected / 50);
    await_progress(cluster, stage, meter, |written, _| {
        least = least.min(written);
        written > least + some
    })?;
    show::step(&format!(
        "records flow again, 2 % more were written {:.2} s after it",
        watch.elapsed().as_secs_f64()
    ));
    Ok(())
}
