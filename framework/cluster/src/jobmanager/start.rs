use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use flott_control::job::{JobMaster, JobStatus};
use flott_core::{
    Clock, Error, ErrorKind, JobIdentity, Result, ResultExt, SystemClock, TaskManagerId, hash, random,
};
use flott_plan::ExecutionPlan;
use flott_runtime::program::JobProgram;
use flott_state::storage::{JobRecord, TerminalRecord};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet, time::sleep};

use super::{
    driver::{Driver, Ending},
    event::EVENTS_MAX,
    members::{self, Reception},
    outline::outline,
    report::Report,
};
use crate::{
    launch::{BuildProgram, JobOutcome, OutcomeStatus, StopSignal},
    progress::{JobSummary, ProgressListener},
    rpc::connection::Stream,
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
    Listener(TcpListener),
    /// From this process.
    Pipe(Box<dyn Stream>),
}

/// A job as its JobManager starts it.
pub(crate) struct JobManager {
    pub(crate) job_name: String,
    pub(crate) build_id: String,
    pub(crate) parameters: serde_json::Value,
    pub(crate) settings: ClusterSettings,
    pub(crate) progress: Arc<dyn ProgressListener>,
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
        stop: StopRequests,
    ) -> Result<JobOutcome> {
        let run = new_run();
        let settings = &self.settings;
        let opened =
            CheckpointStore::open(&settings.checkpoint_dir, &self.job_name, settings.again, run).await?;
        let (store, record) = match opened {
            store::Opened::Ended(terminal) => return Ok(already_ended(&terminal)),
            store::Opened::Leading { store, record } => (store, *record),
        };
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let reception = Arc::new(self.reception(&program, &record, store.place())?);
        let entering = match entrance {
            Entrance::Listener(listener) => {
                tokio::spawn(members::accept(listener, reception, events.clone()))
            }
            Entrance::Pipe(pipe) => tokio::spawn(members::take_pipe(pipe, reception, events.clone())),
        };
        let driver = self.driver(program, plan, store, record, events);
        driver.report.note(match driver.completed.last() {
            Some(checkpoint) => format!("leading in epoch {}; newest checkpoint {checkpoint}", driver.epoch),
            None => format!("leading in epoch {}; no checkpoint yet", driver.epoch),
        });
        let (mut driver, ending) = driver.run(received, stop).await;
        entering.abort();
        driver.show();
        Ok(conclude(&driver, ending).await)
    }

    fn reception(
        &self,
        program: &JobProgram,
        record: &JobRecord,
        checkpoint_place: String,
    ) -> Result<Reception> {
        let unwritable = "cannot write what TaskManagers have to know";
        Ok(Reception {
            build_id: self.build_id.clone(),
            epoch: record.epoch,
            cluster: hash::bytes(record.run.as_bytes()),
            job_name: self.job_name.clone(),
            parameters: self.parameters.to_string(),
            settings: serde_json::to_string(&self.settings).or_error(ErrorKind::Internal, unwritable)?,
            checkpoint_place,
            fingerprint: program.graph.fingerprint(),
            graph: serde_json::to_string(&program.graph).or_error(ErrorKind::Internal, unwritable)?,
        })
    }

    fn driver(
        self,
        program: JobProgram,
        plan: ExecutionPlan,
        store: CheckpointStore,
        record: JobRecord,
        events: mpsc::Sender<super::event::Event>,
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
            program: Arc::new(program),
            plan: Arc::new(plan),
            epoch: record.epoch,
            job: JobIdentity { name: record.job_name, run: record.run },
            store,
            master,
            report: Report::new(self.progress, self.job_name, uids, clock.now()),
            settings: Arc::new(self.settings),
            clock,
            events,
            peers: BTreeMap::new(),
            last_peer: TaskManagerId(0),
            locations: BTreeMap::new(),
            attempt: None,
            completed: record.checkpoints.iter().map(|entry| entry.checkpoint).collect(),
            generations: record.unswept.into_iter().collect(),
            restored: None,
            is_thorough: false,
            has_settled: false,
            is_repeat: record.is_repeat,
            background: JoinSet::new(),
            facts: VecDeque::new(),
            signal: None,
            signals: 0,
            ending: None,
        }
    }
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

/// Writes the job's end, if it is one.
async fn conclude(driver: &Driver, ending: Ending) -> JobOutcome {
    let Ending { status, failure, is_deposed } = ending;
    let mut error = failure.clone().map(Error::from);
    if is_deposed {
        error = Some(deposed(driver.store.doubt()));
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

fn deposed(doubt: Option<&str>) -> Error {
    match doubt {
        Some(doubt) => Error::new(
            ErrorKind::Unreachable,
            format!(
                "it cannot be told what the journal of the checkpoint directory says, so this JobManager has stopped \
                 everything it ran and has deleted nothing; start it again when the directory can be used: {doubt}"
            ),
        ),
        None => Error::new(
            ErrorKind::Incompatible,
            "another JobManager has taken over this checkpoint directory; this one has stopped everything it ran. One \
             directory belongs to one job, and a job has one JobManager",
        ),
    }
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
