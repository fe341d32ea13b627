use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use flott_control::job::{JobMaster, JobStatus};
use flott_core::{
    Clock, ClockReading, Error, ErrorKind, JobIdentity, ProcessingTime, Result, ResultExt, SystemClock,
    TaskManagerId, hash, random,
    sink::{ACCEPT_LOST_OUTPUT, ALLOW_REPEATED_OUTPUT},
};
use flott_plan::ExecutionPlan;
use flott_runtime::{exchange::ByteStream, program::JobProgram};
use flott_state::storage::{JobRecord, Leader, Reign, TerminalRecord};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use super::{
    auditing::Audits,
    checks::Checks,
    driver::{Driver, Ending},
    event::{EVENTS_MAX, Event},
    members::{self, Identity, Reception},
    outline::outline,
    report::Report,
    waits::Waits,
};
use crate::{
    candidate::{Candidate, Led, Observation},
    launch::{BuildProgram, JobOutcome, OutcomeStatus, StopSignal},
    progress::{JobSummary, ProgressListener},
    security::Security,
    settings::ClusterSettings,
    store::{self, CheckpointStore, StoreError},
    termination::StopRequests,
};

/// How often the end of the job is written until it is given up.
const TERMINAL_WRITES_MAX: u32 = 5;
const TERMINAL_WRITE_DELAY: Duration = Duration::from_millis(500);

/// Where TaskManagers come from.
pub(crate) enum Entrance {
    /// From anywhere.
    Listener(TcpListener, Security),
    /// From this process.
    Pipe(Box<dyn ByteStream>),
}

/// A job as its JobManager starts it.
pub(crate) struct JobManager {
    pub(crate) job_name: String,
    pub(crate) build_id: String,
    /// The address for TaskManagers, for people; empty when they are in this process.
    pub(crate) address: String,
    pub(crate) parameters: serde_json::Value,
    pub(crate) settings: ClusterSettings,
    pub(crate) progress: Arc<dyn ProgressListener>,
}

/// The end of a JobManager's campaign for the lead.
enum Campaign {
    /// It never led.
    Over(Box<JobOutcome>),
    Won {
        store: CheckpointStore,
        record: Box<JobRecord>,
    },
}

/// Takes TaskManagers, until it is dropped.
struct Entering(JoinHandle<()>);

impl Entering {
    /// Its port is free when this returns.
    async fn close(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl JobManager {
    /// Runs the job until it is over for this JobManager.
    ///
    /// # Errors
    /// When it cannot even begin.
    pub(crate) async fn run(
        self,
        program: JobProgram,
        plan: ExecutionPlan,
        entrance: Entrance,
        mut stop: StopRequests,
    ) -> Result<JobOutcome> {
        let program = Arc::new(program);
        let waits = Waits::new(Arc::new(SystemClock));
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let (opening, reception) = watch::channel(None);
        let entering = self.enter(entrance, reception, events.clone());
        let campaign = async {
            tokio::select! {
                campaign = self.campaign(&program, &plan, &waits) => campaign,
                signal = stop.next() => Ok(Campaign::Over(Box::new(stopped_before_it_led(signal)))),
            }
        };
        let (store, record) = match waits.tell_during(&*self.progress, campaign).await? {
            Campaign::Over(outcome) => return Ok(*outcome),
            Campaign::Won { store, record } => (store, *record),
        };
        opening.send_replace(Some(Arc::new(self.reception(&program, &record, &store)?)));
        let progress = Arc::clone(&self.progress);
        let is_repeat = record.is_repeat;
        let driver = self.driver(program, plan, store, record, events, waits.clone());
        driver.report.note(match driver.master.latest_checkpoint() {
            Some(checkpoint) => format!("leading in epoch {}; newest checkpoint {checkpoint}", driver.epoch),
            None => format!("leading in epoch {}; no checkpoint yet", driver.epoch),
        });
        waived_guards(&driver.settings, is_repeat).for_each(|guard| driver.report.warn(guard));
        let (mut driver, ending) = driver.run(received, stop).await;
        entering.close().await;
        driver.show();
        let _wait = driver.begin_wait(format_args!("recording the end of the job"));
        Ok(waits.tell_during(&*progress, conclude(&driver, ending)).await)
    }

    /// Takes TaskManagers from now on. Until `reception` has a value they learn that this JobManager does not lead.
    fn enter(
        &self,
        entrance: Entrance,
        reception: watch::Receiver<Option<Arc<Reception>>>,
        events: mpsc::Sender<Event>,
    ) -> Entering {
        let identity = Identity { build_id: self.build_id.clone(), job_name: self.job_name.clone() };
        let identity = Arc::new(identity);
        Entering(match entrance {
            Entrance::Listener(listener, security) => {
                tokio::spawn(members::accept(listener, security, identity, reception, events))
            }
            Entrance::Pipe(pipe) => tokio::spawn(members::take_pipe(pipe, identity, reception, events)),
        })
    }

    /// Observes the journal, checks, and leads.
    async fn campaign(
        &self,
        program: &Arc<JobProgram>,
        plan: &ExecutionPlan,
        waits: &Waits,
    ) -> Result<Campaign> {
        let settings = Arc::new(self.settings.clone());
        let wait =
            |doing| waits.begin(format!("the checkpoint directory {} ({doing})", settings.checkpoint_dir));
        let observation = {
            let _wait = wait("reading its journal");
            Candidate::observe(&settings.checkpoint_dir, &self.job_name, settings.again).await?
        };
        let candidate = match observation {
            Observation::Ended(terminal) => return Ok(Campaign::Over(Box::new(already_ended(&terminal)))),
            Observation::Open(candidate) => candidate,
        };
        let checks = Checks { program, plan, settings: &settings, progress: &*self.progress, waits };
        checks.pass(&candidate, &SystemClock).await?;
        let leader = self.leader(SystemClock.processing_time());
        let _wait = wait("writing to its journal");
        Ok(match candidate.lead(leader, &new_run()).await? {
            Led::Ended(terminal) => Campaign::Over(Box::new(already_ended(&terminal))),
            Led::Leading { store, record } => Campaign::Won { store, record },
        })
    }

    /// The identity of this JobManager, for the journal.
    fn leader(&self, now: ProcessingTime) -> Leader {
        #[cfg(feature = "ablation")]
        if flott_core::ablation::Step::Writer.is_left_out() {
            return Leader::default();
        }
        Leader {
            nonce: random::number(),
            address: self.address.clone(),
            host: host_name(),
            process: std::process::id(),
            started_at_ms: u64::try_from(now.0).unwrap_or_default(),
        }
    }

    fn reception(
        &self,
        program: &JobProgram,
        record: &JobRecord,
        store: &CheckpointStore,
    ) -> Result<Reception> {
        let unwritable = "cannot write what TaskManagers have to know";
        Ok(Reception {
            epoch: record.epoch,
            cluster: hash::bytes(record.run.as_bytes()),
            parameters: self.parameters.to_string(),
            settings: serde_json::to_string(&self.settings).or_error(ErrorKind::Internal, unwritable)?,
            checkpoint_place: store.place(),
            newest_entry: store.newest_entry(),
            fingerprint: program.graph.fingerprint(),
            graph: serde_json::to_string(&program.graph).or_error(ErrorKind::Internal, unwritable)?,
        })
    }

    fn driver(
        self,
        program: Arc<JobProgram>,
        plan: ExecutionPlan,
        store: CheckpointStore,
        record: JobRecord,
        events: mpsc::Sender<Event>,
        waits: Waits,
    ) -> Driver {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let master = JobMaster::new(
            self.settings.job_settings(),
            outline(&plan),
            store::history(&record),
            random::number(),
        );
        let uids = plan.graph.operators.iter().map(|node| node.uid.clone()).collect();
        Driver {
            program,
            plan: Arc::new(plan),
            epoch: record.epoch,
            job: JobIdentity { name: record.job_name, run: record.run },
            store,
            master,
            report: Report::new(self.progress, self.job_name, uids, clock.now()),
            settings: Arc::new(self.settings),
            waits,
            withdrawals: BTreeMap::new(),
            last_look: ClockReading::now(&*clock),
            clock,
            events,
            peers: BTreeMap::new(),
            last_peer: TaskManagerId(0),
            locations: BTreeMap::new(),
            attempt: None,
            manifest: None,
            audits: Audits::default(),
            background: JoinSet::new(),
            looking: None,
            facts: VecDeque::new(),
            signal: None,
            ending: None,
        }
    }
}

/// The guards of output that a person has waived: settings like these outlive their occasion in a file.
fn waived_guards(settings: &ClusterSettings, is_repeat: bool) -> impl Iterator<Item = String> {
    let unset = |name| format!("Unset {name} once the job has completed a checkpoint");
    let repeated = "a sink does not refuse output that repeats what is committed, nor topics or directories that another run of \
                    this job writes to";
    let by_setting = format!("{ALLOW_REPEATED_OUTPUT} is set: {repeated}. {}", unset(ALLOW_REPEATED_OUTPUT));
    let by_run = format!("the job runs again from nothing: until its first checkpoint {repeated}");
    let lost = format!(
        "{ACCEPT_LOST_OUTPUT} is set: output that is lost is reported and does not stop the job. {}",
        unset(ACCEPT_LOST_OUTPUT)
    );
    [(settings.allow_repeated_output, by_setting), (is_repeat, by_run), (settings.accept_lost_output, lost)]
        .into_iter()
        .filter_map(|(is_waived, text)| is_waived.then_some(text))
}

/// The name of this host, for people.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = if name.is_empty() { std::env::var("HOSTNAME").unwrap_or_default() } else { name };
    if name.trim().is_empty() { "an unknown host".into() } else { name.trim().to_owned() }
}

/// A name that no other run has.
fn new_run() -> String {
    let now = SystemClock.processing_time().0;
    format!("{now:x}-{:016x}", random::number())
}

fn already_ended(terminal: &TerminalRecord) -> JobOutcome {
    let is_cancelled = terminal.status == JobStatus::Cancelled.to_string();
    JobOutcome {
        status: if is_cancelled { OutcomeStatus::Cancelled } else { OutcomeStatus::Finished },
        error: None,
        signal: None,
        summary: JobSummary::default(),
        already_finished: true,
    }
}

fn stopped_before_it_led(signal: StopSignal) -> JobOutcome {
    JobOutcome {
        status: OutcomeStatus::Suspended,
        error: None,
        signal: Some(signal),
        summary: JobSummary::default(),
        already_finished: false,
    }
}

/// Writes the job's end, if it is one.
async fn conclude(driver: &Driver, ending: Ending) -> JobOutcome {
    let Ending { status, failure, is_deposed } = ending;
    let mut error = failure.clone().map(Error::from);
    if is_deposed {
        error = Some(deposed(driver.store.doubt(), driver.store.successor()));
    } else if is_worth_a_record(status) {
        let message = failure.map(|failure| failure.message);
        let at_ms = driver.clock.processing_time().0;
        let terminal = TerminalRecord { status: status.to_string(), at_ms, message };
        if let Err(unwritten) = write_terminal(&driver.store, terminal).await {
            driver.report.warn(format!("the end of the job could not be recorded: {unwritten}"));
        }
    }
    JobOutcome {
        status: match status {
            _ if is_deposed => OutcomeStatus::Failed,
            JobStatus::Finished => OutcomeStatus::Finished,
            JobStatus::Cancelled => OutcomeStatus::Cancelled,
            JobStatus::Suspended => OutcomeStatus::Suspended,
            _ => OutcomeStatus::Failed,
        },
        error,
        signal: driver.signal.filter(|_: &StopSignal| status == JobStatus::Suspended),
        summary: driver.report.summary(driver.now()),
        already_finished: false,
    }
}

fn deposed(doubt: Option<&str>, successor: Option<&Reign>) -> Error {
    let Some(doubt) = doubt else {
        let who = successor.map_or_else(|| "another JobManager".to_owned(), ToString::to_string);
        return Error::new(
            ErrorKind::Incompatible,
            format!(
                "this JobManager was deposed: {who} has taken over the checkpoint directory. This one has stopped everything \
                 it ran. One directory belongs to one job, and a job has one JobManager"
            ),
        );
    };
    Error::new(
        ErrorKind::Unreachable,
        format!(
            "it cannot be told what the journal of the checkpoint directory says, so this JobManager has stopped \
             everything it ran and has deleted nothing; start it again when the directory can be used: {doubt}"
        ),
    )
}

/// A failed job can be started again when its cause is removed, and then goes on from its last checkpoint. So only the
/// ends that were wished for are recorded.
fn is_worth_a_record(status: JobStatus) -> bool {
    matches!(status, JobStatus::Finished | JobStatus::Cancelled)
}

async fn write_terminal(store: &CheckpointStore, terminal: TerminalRecord) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        match store.end(terminal.clone()).await {
            Ok(()) => return Ok(()),
            Err(StoreError::Conflict) => return Err(Error::transient("another JobManager has taken over")),
            Err(StoreError::Failed(error)) if tries >= TERMINAL_WRITES_MAX => return Err(error),
            Err(StoreError::Failed(error)) => {
                tracing::warn!(%error, "cannot record the end of the job yet");
                sleep(TERMINAL_WRITE_DELAY).await;
            }
        }
    }
}

/// Builds the program of a job.
///
/// # Errors
/// What the user's `main` says, or when its graph is incomplete.
pub(crate) fn build(
    build: &BuildProgram,
    parameters: &serde_json::Value,
    settings: &ClusterSettings,
) -> Result<(JobProgram, ExecutionPlan)> {
    settings.check()?;
    let program = build(parameters, settings)?;
    let plan = ExecutionPlan::new(program.graph.clone(), settings.parallelism)?;
    Ok((program, plan))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    fn jobmanager() -> JobManager {
        JobManager {
            job_name: "job".into(),
            build_id: "build".into(),
            address: "host:6123".into(),
            parameters: serde_json::Value::Null,
            settings: ClusterSettings::default(),
            progress: Arc::new(Silent),
        }
    }

    /// Two that start in one process in the same millisecond are told apart by nothing else.
    #[test]
    fn each_jobmanager_draws_a_number_of_its_own() {
        let now = ProcessingTime(1_700_000_000_000);
        let (one, other) = (jobmanager().leader(now), jobmanager().leader(now));
        assert_ne!(one.nonce, other.nonce);
        assert_eq!(Leader { nonce: 0, ..one }, Leader { nonce: 0, ..other });
    }
}
