//! From `main` to a running process: flags, settings, role, exit code.

mod cli;
mod help;
mod lines;
mod parameters;
mod progress;

use std::{
    io::IsTerminal,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::ArgMatches;
use flott_cluster::{
    ClusterSettings, JobLaunch, JobOutcome, OutcomeStatus, ProgressListener, TaskManagerOutcome, Termination,
    run_jobmanager, run_local, run_taskmanager,
};
use flott_connectors::print::STANDARD_OUTPUT;
use flott_core::{Error, ErrorKind, Result, ResultExt};
use flott_plan::{ExecutionPlan, JobGraph, OperatorRole};
use flott_runtime::program::JobProgram;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    job::Job,
    launch::cli::{PlanFormat, Role},
    settings::{self, Layers, Sources},
};

/// A job without parameters of its own.
#[derive(Clone, Copy, Debug, clap::Args, Serialize, serde::Deserialize)]
pub struct NoParams {}

/// What `#[flott::main]` knows of the binary.
#[derive(Clone, Copy, Debug)]
pub struct JobInfo {
    /// Name of the package.
    pub name: &'static str,
    /// Version of the package.
    pub version: &'static str,
    /// Doc comment of `main`.
    pub about: &'static str,
}

/// Job parameters: what clap can parse and serde can send.
pub trait Parameters: clap::Args + Serialize + DeserializeOwned + Send + 'static {}
impl<P: clap::Args + Serialize + DeserializeOwned + Send + 'static> Parameters for P {}

/// The body of a job's `main`: reads flags and settings, builds the job with `build`, plays the role that was asked
/// for, and returns the exit code.
pub fn run_main<P: Parameters>(build: fn(&mut Job, P) -> Result<()>, info: JobInfo) -> ExitCode {
    let matches = match cli::command::<P>(info) {
        Ok(command) => command.get_matches(),
        Err(error) => return report(&error),
    };
    match run(build, info, &matches) {
        Ok(code) => ExitCode::from(code),
        Err(error) => report(&error),
    }
}

fn report(error: &Error) -> ExitCode {
    say(&format!("error: {error}"));
    ExitCode::from(error.kind().exit_code())
}

/// The last words of the process, behind all that waits to be written.
fn say(text: &str) {
    lines::stderr().push(format!("{text}\n"));
    lines::stderr().flush();
}

fn run<P: Parameters>(
    build: fn(&mut Job, P) -> Result<()>,
    info: JobInfo,
    matches: &ArgMatches,
) -> Result<u8> {
    let plan = matches.subcommand_matches("plan");
    let matches = plan.unwrap_or(matches);
    let sources = read_sources(matches)?;
    let launch_settings: LaunchSettings = extract_launch(&sources.settings)?;
    init_logging(&launch_settings.log)?;
    let cluster: ClusterSettings = settings::extract(&without_launch(&sources.settings))?;
    let is_taskmanager = plan.is_none() && launch_settings.role == Role::Taskmanager;
    let parameters = if is_taskmanager {
        // They come from the JobManager.
        serde_json::Value::Null
    } else {
        let parameters = parameters::resolve::<P>(matches, &sources.parameters)?;
        serde_json::to_value(&parameters).or_error(ErrorKind::Settings, "the job's parameters are no data")?
    };
    let prints = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&prints);
    let launch = JobLaunch {
        job_name: info.name.into(),
        build_id: build_id()?,
        parameters,
        settings: cluster,
        build_program: Arc::new(move |parameters, _settings| {
            let program = build_program(build, parameters)?;
            told.fetch_or(prints_results(&program.graph), Ordering::Relaxed);
            Ok(program)
        }),
        terminate: Termination::Signals,
    };
    if let Some(plan) = plan {
        return print_plan(&launch, cli::plan_format(plan));
    }
    let keeps_state = launch.settings.keeps_state();
    let listener: Arc<dyn ProgressListener> = Arc::new(progress::ProgressPrinter::new(prints));
    Ok(match launch_settings.role {
        Role::Local => finish(&run_local(launch, listener), info.name, keeps_state),
        Role::Jobmanager => finish(&run_jobmanager(launch, listener), info.name, keeps_state),
        Role::Taskmanager => finish_taskmanager(&run_taskmanager(launch, listener)),
    })
}

fn build_program<P: Parameters>(
    build: fn(&mut Job, P) -> Result<()>,
    parameters: &serde_json::Value,
) -> Result<JobProgram> {
    let parameters = P::deserialize(parameters)
        .or_error(ErrorKind::Incompatible, "the JobManager's job parameters do not fit this binary")?;
    let mut job = Job::new();
    build(&mut job, parameters).map_err(|error| match error.kind() {
        // What `main` returns is about how the job was declared or configured.
        ErrorKind::User => error.with_kind(ErrorKind::Settings),
        _ => error,
    })?;
    job.finish()
}

/// Whether a sink of the job prints to stdout.
fn prints_results(graph: &JobGraph) -> bool {
    let is_sink = |role: &OperatorRole| matches!(role, OperatorRole::Sink(_));
    graph.operators.iter().any(|node| is_sink(&node.role) && node.description == STANDARD_OUTPUT)
}

fn print_plan(launch: &JobLaunch, format: PlanFormat) -> Result<u8> {
    let program = (launch.build_program)(&launch.parameters, &launch.settings)?;
    let plan = ExecutionPlan::new(program.graph, launch.settings.parallelism)?;
    match format {
        PlanFormat::Text => print!("{}", plan.to_text()),
        PlanFormat::Mermaid => print!("{}", plan.to_mermaid()),
        PlanFormat::Json => println!("{:#}", plan.to_json()),
    }
    Ok(0)
}

fn finish(outcome: &JobOutcome, job_name: &str, keeps_state: bool) -> u8 {
    progress::print_summary(outcome, job_name, keeps_state);
    match (outcome.status, outcome.signal) {
        (OutcomeStatus::Finished | OutcomeStatus::Cancelled, _) => 0,
        (OutcomeStatus::Suspended, Some(signal)) => signal.exit_code(),
        _ => outcome.error.as_ref().map_or(1, |error| error.kind().exit_code()),
    }
}

fn finish_taskmanager(outcome: &TaskManagerOutcome) -> u8 {
    match outcome {
        TaskManagerOutcome::JobOver(Some(error)) => say(&format!("the job has failed: {error}")),
        TaskManagerOutcome::Failed(error) => say(&format!("error: {error}")),
        TaskManagerOutcome::JobOver(None) | TaskManagerOutcome::Signalled(_) => lines::stderr().flush(),
    }
    outcome.exit_code()
}

/// Settings that concern this process only, and never travel.
#[derive(Debug, Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LaunchSettings {
    role: Role,
    /// A filter of the `tracing` crate: `warn`, `info`, `flott_cluster=debug`.
    log: String,
}

impl Default for LaunchSettings {
    fn default() -> Self {
        Self { role: Role::Local, log: "warn".into() }
    }
}

pub(crate) const LAUNCH_KEYS: [&str; 2] = ["role", "log"];

fn extract_launch(layers: &Layers) -> Result<LaunchSettings> {
    let own = layers.iter().filter(|(key, _)| LAUNCH_KEYS.contains(&key.as_str()));
    settings::extract(&own.map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn without_launch(layers: &Layers) -> Layers {
    let rest = layers.iter().filter(|(key, _)| !LAUNCH_KEYS.contains(&key.as_str()));
    rest.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Reads all layers of settings, lowest first.
fn read_sources(matches: &ArgMatches) -> Result<Sources> {
    let mut sources = Sources::default();
    if let Some(path) = matches.get_one::<String>(cli::CONFIG) {
        let text = std::fs::read_to_string(path)
            .or_error(ErrorKind::Settings, format_args!("cannot read the settings file {path}"))?;
        sources.add_file(Path::new(path), &text)?;
    } else if Path::new(settings::FILE).exists() {
        let text = std::fs::read_to_string(settings::FILE)
            .or_error(ErrorKind::Settings, format_args!("cannot read {}", settings::FILE))?;
        sources.add_file(Path::new(settings::FILE), &text)?;
    }
    sources.add_environment(
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    );
    for assignment in matches.get_many::<String>(cli::SET).into_iter().flatten() {
        sources.add_assignment(assignment)?;
    }
    cli::add_flags(matches, &mut sources);
    Ok(sources)
}

fn init_logging(filter: &str) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .or_error(ErrorKind::Settings, format_args!("the log filter {filter:?} is invalid"))?;
    // A second job in the same process (a test) keeps the first one's logging.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stderr().is_terminal());
    let _ = log.with_writer(|| lines::Log).try_init();
    Ok(())
}

/// Identifies this binary: two processes of one job must run the same.
fn build_id() -> Result<String> {
    let context = "cannot read this binary to identify it";
    let path = std::env::current_exe().or_error(ErrorKind::Internal, context)?;
    let file = std::fs::File::open(&path).or_error(ErrorKind::Internal, context)?;
    let length = file.metadata().or_error(ErrorKind::Internal, context)?.len();
    content_hash(file, length).or_error(ErrorKind::Internal, context)
}

/// Hash of a binary's content. Builds of one source differ in many places, so that its length and a sample of blocks
/// tell them apart without reading hundreds of megabytes at each start.
fn content_hash(mut file: std::fs::File, length: u64) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    const BLOCK: u64 = 64 * 1024;
    const BLOCKS: u64 = 64;
    let mut sample = length.to_le_bytes().to_vec();
    let stride = (length / BLOCKS).max(BLOCK);
    let mut position = 0;
    while position < length {
        file.seek(SeekFrom::Start(position))?;
        (&mut file).take(BLOCK).read_to_end(&mut sample)?;
        position += stride;
    }
    Ok(format!("{:016x}", flott_core::hash::bytes(&sample)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::{CollectionSource, DiscardSink, PrintSink};

    #[test]
    fn it_is_known_whether_a_job_prints_its_results() {
        let prints = |is_printed: bool| {
            let mut job = Job::new();
            let numbers = job.source("numbers", CollectionSource::new(vec![1u64]));
            if is_printed {
                numbers.sink("out", PrintSink::json());
            } else {
                numbers.sink("out", DiscardSink::new());
            }
            prints_results(&job.finish().unwrap().graph)
        };
        assert!(prints(true));
        assert!(!prints(false));
    }
}
