//! From `main` to a running process: flags, settings, role, exit code.

mod build_id;
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
use flott_core::{Error, ErrorKind, Result, ResultExt, Secret};
use flott_plan::{ExecutionPlan, JobGraph, OperatorRole};
use flott_runtime::program::JobProgram;
use serde::{Serialize, de::DeserializeOwned};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

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
    /// Name of the binary: the job's name.
    pub name: &'static str,
    /// Version of the package.
    pub version: &'static str,
    /// Doc comment of `main`.
    pub about: &'static str,
}

/// Job parameters: what clap can parse and serde can send.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot hold the parameters of a job",
    label = "parameters implement `clap::Args`, `Serialize` and `Deserialize`",
    note = "put `#[derive(clap::Args, Serialize, Deserialize)]` on it: the command line gives the parameters, and \
            TaskManagers get them from the JobManager"
)]
pub trait Parameters: clap::Args + Serialize + DeserializeOwned + Send + 'static {}
// Otherwise the compiler names the first bound that is missing, and leaves out the advice above.
#[diagnostic::do_not_recommend]
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
    let (launch_settings, cluster, mut mistakes) = read_settings(&sources.settings)?;
    let is_taskmanager = plan.is_none() && launch_settings.role == Role::Taskmanager;
    let parameters = if is_taskmanager {
        // They come from the JobManager.
        None
    } else {
        parameters::resolve::<P>(matches, &sources.parameters, &mut mistakes)
    };
    settings::refuse(mistakes)?;
    init_logging(&launch_settings.log)?;
    // To the TaskManagers, and nowhere else.
    let parameters = Secret::travelling(|| serde_json::to_value(&parameters))
        .or_error(ErrorKind::Settings, "the job's parameters cannot be written as JSON")?;
    let prints = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&prints);
    let launch = JobLaunch {
        job_name: info.name.into(),
        build_id: build_id::build_id()?,
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
        Role::Local => {
            let outcome = run_local(launch, listener);
            // The reader of the results has gone: as any program in a pipe, the job has nothing left to say.
            match outcome.error.as_ref().map(Error::kind) {
                Some(kind @ ErrorKind::OutputClosed) => kind.exit_code(),
                _ => finish(&outcome, info.name, keeps_state),
            }
        }
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
        // All is written, but not all of it can be read: never "ok".
        (OutcomeStatus::Finished, _) if !outcome.summary.hanging_output.is_empty() => {
            ErrorKind::OutputLost.exit_code()
        }
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
    /// A level, or levels by crate and module: `warn`, `info`, `warn,flott_cluster=debug`.
    log: String,
}

impl Default for LaunchSettings {
    fn default() -> Self {
        Self { role: Role::Local, log: "warn".into() }
    }
}

/// Makes the settings of their sources; with everything that is wrong in them.
fn read_settings(layers: &Layers) -> Result<(LaunchSettings, ClusterSettings, Vec<String>)> {
    let known = setting_keys()?;
    let mut mistakes = settings::unknown_keys(layers, &known.iter().map(String::as_str).collect::<Vec<_>>());
    let launch: LaunchSettings = settings::extract(layers, &mut mistakes)?;
    let cluster: ClusterSettings = settings::extract(layers, &mut mistakes)?;
    if let Err(error) = log_filter(&launch.log) {
        let origin = layers.get("log").map_or("default", |sourced| sourced.origin.as_str());
        mistakes.push(format!("setting `log` ({origin}): {error}"));
    }
    mistakes.extend(cluster.mistakes());
    Ok((launch, cluster, mistakes))
}

/// Every setting there is.
pub(crate) fn setting_keys() -> Result<Vec<String>> {
    let mut keys = settings::keys_of::<LaunchSettings>()?;
    keys.extend(settings::keys_of::<ClusterSettings>()?);
    Ok(keys)
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

/// The filter of the log: a level, or levels by crate and module, `warn,flott_cluster=debug`.
///
/// # Errors
/// The first mistake in it.
fn log_filter(text: &str) -> Result<Targets, String> {
    const LEVELS: &str = "off, error, warn, info, debug or trace";
    // Alone, a word that is no level would be taken for a crate of which everything is logged.
    for word in text.split(',').map(str::trim).filter(|word| !word.contains('=')) {
        if word.is_empty() || word.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "{word:?} is no level: write {LEVELS}, or CRATE=LEVEL, such as `{text}=debug`"
            ));
        }
    }
    text.parse::<Targets>().map_err(|error| format!("{text:?}: {error}; a level is {LEVELS}"))
}

fn init_logging(filter: &str) -> Result<()> {
    let filter = log_filter(filter).map_err(|error| Error::new(ErrorKind::Settings, error))?;
    let lines = fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(|| lines::Log);
    // A second job in the same process (a test) keeps the first one's logging.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::{CollectionSource, DiscardSink, PrintSink};

    #[derive(Debug, clap::Args, Serialize, serde::Deserialize)]
    struct Params {
        #[arg(long)]
        password: Secret,
    }

    #[test]
    fn a_secret_parameter_is_given_like_any_other_and_shown_nowhere() {
        let info = JobInfo { name: "job", version: "1", about: "" };
        let resolve = |line: &[&str], variables: &[(&str, &str)]| {
            let mut sources = Sources::default();
            sources.add_environment(variables.iter().map(|(k, v)| ((*k).into(), (*v).into())));
            let matches = cli::command::<Params>(info).unwrap().try_get_matches_from(line).unwrap();
            let mut mistakes = Vec::new();
            let resolved = parameters::resolve::<Params>(&matches, &sources.parameters, &mut mistakes);
            assert_eq!(mistakes, [""; 0]);
            resolved.unwrap()
        };
        let variable = ("FLOTT_PARAMS__PASSWORD", "swordfish");
        let given = [resolve(&["job", "--password", "swordfish"], &[]), resolve(&["job"], &[variable])];
        for params in given {
            assert_eq!(params.password.reveal(), "swordfish");
            assert!(!format!("{params:?}").contains("swordfish"));
            assert!(serde_json::to_value(&params).is_err());
            let sent = Secret::travelling(|| serde_json::to_value(&params)).unwrap();
            // As a TaskManager does, which was sent it.
            let build = |job: &mut Job, params: Params| {
                assert_eq!(params.password.reveal(), "swordfish");
                let numbers = job.source("numbers", CollectionSource::new(vec![1u64]));
                let password = params.password;
                numbers.map(move |n| n + password.reveal().len() as u64).sink("out", DiscardSink::new());
                Ok(())
            };
            let program = build_program::<Params>(build, &sent).unwrap();
            let plan = ExecutionPlan::new(program.graph, 1).unwrap();
            for shown in [plan.to_text(), plan.to_mermaid(), plan.to_json().to_string()] {
                assert!(!shown.contains("swordfish"), "{shown}");
            }
        }
    }

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

    #[test]
    fn a_log_filter_names_levels() {
        for right in ["warn", "off", "warn,flott_cluster=debug", "my_job::parser=trace, info"] {
            assert!(log_filter(right).is_ok(), "{right}");
        }
        for (wrong, part) in
            [("loud", "\"loud\" is no level"), ("my_job=loud", "off, error, warn"), ("", "is no level")]
        {
            let error = log_filter(wrong).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
