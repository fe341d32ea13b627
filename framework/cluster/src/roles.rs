//! The roles that a process can have.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use flott_core::{Error, ErrorKind, Result, ResultExt, SystemClock, random};
use flott_plan::{ExecutionPlan, JobGraph};
use flott_runtime::{exchange::ByteStream, program::JobProgram};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use crate::{
    jobmanager::{self, Entrance, JobManager},
    launch::{JobLaunch, JobOutcome, TaskManagerOutcome},
    progress::{JobEvent, ProgressListener},
    security::Security,
    settings::ClusterSettings,
    taskmanager::{Member, Membership, serve_pipe},
    termination::Termination,
};

/// Threads for control: few, but more than one, so that nothing waits for a long encoding.
const CONTROL_THREADS: usize = 2;

/// Time for the TaskManager of a local run to end after its JobManager.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Both halves of a local run stop and go on together, when the machine sleeps for example: silence means nothing.
const LOCAL_SILENCE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Bytes in the pipe of a local run.
const PIPE_BYTES: usize = 256 * 1024;

/// Runs the whole job in this process. Returns when it is over, or suspended by a signal.
#[must_use]
pub fn run_local(launch: JobLaunch, progress: Arc<dyn ProgressListener>) -> JobOutcome {
    local(launch, progress).unwrap_or_else(JobOutcome::failed)
}

/// Runs a JobManager. Returns when the job is over, or suspended by a signal.
#[must_use]
pub fn run_jobmanager(launch: JobLaunch, progress: Arc<dyn ProgressListener>) -> JobOutcome {
    let run = || {
        let runtime = runtime("control", CONTROL_THREADS)?;
        if !launch.settings.keeps_state() {
            return Err(Error::new(
                ErrorKind::Settings,
                "a JobManager needs a checkpoint directory: `--checkpoint-dir file:///var/lib/flott/my-job`",
            ));
        }
        let security = Security::open(&launch.settings)?;
        let outcome = runtime.block_on(async {
            let (program, plan) = build(&launch).await?;
            let address = launch.settings.jobmanager_listen();
            let context =
                format!("cannot listen on {address} for TaskManagers; choose another with `--listen`");
            let listener = security.listen(&address, &context).await?;
            let address = listener.local_addr().or_error(ErrorKind::Settings, &context)?;
            if let Some(event) = security_event(&security, address) {
                progress.on_event(&event);
            }
            let text = format!("JobManager of {:?} listens on {address}", launch.job_name);
            progress.on_event(&JobEvent { is_warning: false, is_routine: false, text });
            let stop = launch.terminate.listen(Arc::new(SystemClock))?;
            let jobmanager = JobManager {
                job_name: launch.job_name,
                build_id: launch.build_id,
                address: address.to_string(),
                parameters: launch.parameters,
                settings: launch.settings,
                progress,
            };
            jobmanager.run(program, plan, Entrance::Listener(listener, security), stop).await
        });
        runtime.shutdown_background();
        outcome
    };
    run().unwrap_or_else(JobOutcome::failed)
}

/// Runs a TaskManager. Returns when the job is over, a signal came, or it cannot go on.
#[must_use]
pub fn run_taskmanager(launch: JobLaunch, progress: Arc<dyn ProgressListener>) -> TaskManagerOutcome {
    let run = || {
        launch.settings.check()?;
        if launch.settings.jobmanager.is_empty() {
            let message = "a TaskManager needs to know whom to join: `--jobmanager HOST:PORT`";
            return Err(Error::new(ErrorKind::Settings, message));
        }
        let security = Security::open(&launch.settings)?;
        let (control, network) = (runtime("control", CONTROL_THREADS)?, runtime("exchange", 1)?);
        let text = match security.description() {
            Some(description) => {
                format!("TaskManager: joins {} over {description}", launch.settings.jobmanager)
            }
            None => format!("TaskManager: joins {}", launch.settings.jobmanager),
        };
        progress.on_event(&JobEvent { is_warning: false, is_routine: false, text });
        let network_handle = network.handle().clone();
        let outcome = control.block_on(async {
            let stop = launch.terminate.listen(Arc::new(SystemClock))?;
            let member =
                Member::new(launch.build_id, launch.settings, security, launch.build_program, network_handle);
            Ok(Membership::new(Arc::new(member), progress).run(stop).await)
        });
        control.shutdown_background();
        network.shutdown_background();
        outcome
    };
    run().unwrap_or_else(TaskManagerOutcome::Failed)
}

fn local(mut launch: JobLaunch, progress: Arc<dyn ProgressListener>) -> Result<JobOutcome> {
    let temporary = TemporaryDirectory::instead_of(&mut launch.settings)?;
    let (control, network) = (runtime("control", CONTROL_THREADS)?, runtime("exchange", 1)?);
    let network_handle = network.handle().clone();
    let outcome = control.block_on(async {
        let (program, plan) = build(&launch).await?;
        if let (Some(_), Some(text)) = (&temporary, forgotten_commits(&program.graph)) {
            progress.on_event(&JobEvent { is_warning: true, is_routine: false, text });
        }
        launch.settings.slots = plan.slots_needed();
        launch.settings.heartbeat_timeout = LOCAL_SILENCE_MAX;
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let member = Member::new(
            launch.build_id.clone(),
            launch.settings.clone(),
            Security::none(),
            Arc::clone(&launch.build_program),
            network_handle,
        );
        let (_never, unasked) = Termination::by_hand();
        let mut tasks = tokio::spawn(serve_pipe(
            Arc::new(member),
            Box::new(theirs),
            unasked.listen(Arc::new(SystemClock))?,
        ));
        let stop = launch.terminate.listen(Arc::new(SystemClock))?;
        let jobmanager = JobManager {
            job_name: launch.job_name,
            build_id: launch.build_id,
            address: String::new(),
            parameters: launch.parameters,
            settings: launch.settings,
            progress,
        };
        let running =
            jobmanager.run(program, plan, Entrance::Pipe(Box::new(ours) as Box<dyn ByteStream>), stop);
        let mut running = pin!(running);
        let (outcome, ended) = tokio::select! {
            outcome = &mut running => (Some(outcome?), timeout(FAREWELL_TIMEOUT, tasks).await.ok()),
            // No other TaskManager will come: a JobManager that still waits for one waits in vain.
            ended = &mut tasks => (timeout(FAREWELL_TIMEOUT, running).await.ok().transpose()?, Some(ended)),
        };
        Ok(with_cause(outcome, ended.and_then(Result::ok)))
    });
    control.shutdown_background();
    network.shutdown_background();
    drop(temporary);
    outcome
}

/// The warning or note about a port, if there is one to give.
fn security_event(security: &Security, address: SocketAddr) -> Option<JobEvent> {
    if let Some(description) = security.description() {
        let text = format!("TaskManagers connect over {description}");
        return Some(JobEvent { is_warning: false, is_routine: false, text });
    }
    let text = format!(
        "insecure: whoever reaches {address} can read the job's parameters, passwords included, and run as a TaskManager"
    );
    security.is_exposed(address).then_some(JobEvent { is_warning: true, is_routine: false, text })
}

/// How a local run ended. Its TaskManager knows best why it could not go on.
fn with_cause(outcome: Option<JobOutcome>, ended: Option<TaskManagerOutcome>) -> JobOutcome {
    let cause = match ended {
        Some(TaskManagerOutcome::Failed(error)) => Some(error),
        _ => None,
    };
    let Some(mut outcome) = outcome else {
        let unknown = || Error::internal("the TaskManager of this process ended, nobody knows why");
        return JobOutcome::failed(cause.unwrap_or_else(unknown));
    };
    if let Some(cause) = cause.filter(|cause| cause.kind() != ErrorKind::Unreachable) {
        outcome.error.get_or_insert(cause);
    }
    outcome
}

/// Runs the user's `main`, which may block.
async fn build(launch: &JobLaunch) -> Result<(JobProgram, ExecutionPlan)> {
    let (build, parameters) = (Arc::clone(&launch.build_program), launch.parameters.clone());
    let settings = launch.settings.clone();
    let built = tokio::task::spawn_blocking(move || jobmanager::build(&*build, &parameters, &settings)).await;
    built.unwrap_or_else(|error| Err(Error::user(format!("the job's `main` panicked: {error}"))))
}

fn runtime(name: &str, threads: usize) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).thread_name(name).enable_all();
    builder.build().or_error(ErrorKind::Internal, "cannot start the runtime")
}

/// What it means that a job's checkpoints are removed at its end, if it means something beyond its state.
fn forgotten_commits(graph: &JobGraph) -> Option<String> {
    let sinks = graph.operators.iter().filter(|node| node.role.commits());
    let uids: Vec<_> = sinks.map(|node| format!("{:?}", node.uid.as_str())).collect();
    (!uids.is_empty()).then(|| {
        format!(
            "checkpoints go to a temporary directory that is removed at the end, with all knowledge of what {} committed \
             exactly once: the next run on the same output will be refused; `--checkpoint-dir` keeps it",
            uids.join(", ")
        )
    })
}

/// A checkpoint directory that nobody asked for: removed at the end.
struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn instead_of(settings: &mut ClusterSettings) -> Result<Option<Self>> {
        if settings.keeps_state() {
            return Ok(None);
        }
        let path = std::env::temp_dir().join(format!("flott-{:016x}", random::number()));
        let context = format!("cannot create {}", path.display());
        std::fs::create_dir_all(&path).or_error(ErrorKind::Settings, context)?;
        settings.checkpoint_dir = path_text(&path)?;
        Ok(Some(Self(path)))
    }
}

fn path_text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::new(ErrorKind::Settings, format!("{} is not valid text", path.display())))
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove the temporary checkpoint directory");
        }
    }
}
