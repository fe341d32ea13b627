//! The flags that every job binary has.

use clap::{Arg, ArgAction, ArgMatches, Command, ValueEnum, parser::ValueSource};
use flott_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::{
    launch::{JobInfo, Parameters, help},
    settings::Sources,
};

/// What a process of the job's cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// JobManager and TaskManager in one process.
    Local,
    /// Coordinates the job.
    Jobmanager,
    /// Runs tasks for a JobManager.
    Taskmanager,
}

/// How `plan` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum PlanFormat {
    /// Indented text.
    Text,
    /// A Mermaid flow chart.
    Mermaid,
    /// JSON.
    Json,
}

pub(super) const SET: &str = "set";
pub(super) const CONFIG: &str = "config";
const FORMAT: &str = "format";

/// Flags that are settings: id (the key in `flott.toml`), name of the value, help. The help of those whose default is not
/// a value says what happens without them.
pub(super) const SETTINGS: [(&str, &str, &str); 13] = [
    ("role", "ROLE", "Role of this process: local, jobmanager or taskmanager"),
    (
        "listen",
        "HOST:PORT",
        "Where this process listens; port 0 takes any and prints it [default: JobManager 127.0.0.1:6123, TaskManager \
         any port where it reaches the JobManager]",
    ),
    (
        "jobmanager",
        "HOST:PORT",
        "TaskManager: address of the JobManager to join [required for a TaskManager]",
    ),
    (
        "secret_file",
        "FILE",
        "A secret that all processes of the job share: they encrypt, and prove to each other that they know it. \
         `openssl rand -hex 32 > FILE` makes one [default: none]",
    ),
    ("tls_cert", "FILE", "Instead of a secret: this process's certificate chain (PEM) [default: none]"),
    ("tls_key", "FILE", "The private key of --tls-cert (PEM) [default: none]"),
    (
        "tls_ca",
        "FILE",
        "The authorities that sign the certificates of the job's processes (PEM) [default: none]",
    ),
    (
        "insecure",
        "",
        "Listen also where others can connect, without a secret or certificates: they can read the job's parameters and \
         run as TaskManagers",
    ),
    ("slots", "N", "TaskManager: number of slots it offers; a local run has as many as the job needs"),
    ("parallelism", "N", "Subtasks per operator"),
    (
        "checkpoint_dir",
        "URL",
        "Directory of the checkpoints, as file:///…; it belongs to one job, and all processes of the job use it at this \
         path [default: a temporary directory, for a local run only]",
    ),
    ("checkpoint_interval", "DURATION", "Time between checkpoints, such as 1s or 500ms"),
    ("again", "", "Run a finished job again, from the beginning"),
];

/// The command line of a job with parameters `P`.
///
/// # Errors
/// When a parameter has the name of a flag of the engine.
pub(super) fn command<P: Parameters>(info: JobInfo) -> Result<Command> {
    check_names::<P>()?;
    let plan = Command::new("plan").arg(
        Arg::new(FORMAT).long(FORMAT).value_parser(clap::value_parser!(PlanFormat)).default_value("text"),
    );
    let plan = with_settings(with_parameters::<P>(plan)).about("Print the job's graph and contact nothing");
    let command = Command::new(info.name)
        .version(info.version)
        .after_help(help::short())
        .after_long_help(help::long())
        .args_conflicts_with_subcommands(true)
        .max_term_width(110);
    Ok(with_settings(with_parameters::<P>(command)).about(info.about).subcommand(plan))
}

fn with_parameters<P: Parameters>(command: Command) -> Command {
    // A required parameter may as well come from a file or a variable: whether it is there is checked later. The doc
    // comment of the parameters would become that of the whole command.
    let command = P::augment_args(command.next_help_heading("Job parameters"));
    command.mut_args(|arg| arg.required(false)).long_about(None)
}

fn with_settings(mut command: Command) -> Command {
    command = command.next_help_heading("Engine");
    for (id, value_name, help) in SETTINGS {
        let help = match help::default_of(id) {
            Some(default) if !help.ends_with(']') => format!("{help} [default: {default}]"),
            _ => help.to_owned(),
        };
        let arg = Arg::new(id).long(id.replace('_', "-")).help(help);
        command = command.arg(match value_name {
            "" => arg.action(ArgAction::SetTrue),
            "ROLE" => arg.value_name(value_name).value_parser(clap::builder::EnumValueParser::<Role>::new()),
            _ => arg.value_name(value_name),
        });
    }
    let set = Arg::new(SET).long(SET).value_name("KEY=VALUE").action(ArgAction::Append);
    let config = Arg::new(CONFIG).long(CONFIG).value_name("FILE");
    command
        .arg(set.help("Any other setting; --help lists them"))
        .arg(config.help("Settings file [default: flott.toml in the working directory, if there is one]"))
}

fn check_names<P: Parameters>() -> Result<()> {
    let parameters = P::augment_args(Command::new("parameters"));
    let engine = with_settings(Command::new("engine"));
    for parameter in parameters.get_arguments() {
        let is_taken =
            |flag: &Arg| flag.get_id() == parameter.get_id() || flag.get_long() == parameter.get_long();
        if parameter.get_long().is_some() && engine.get_arguments().any(is_taken) {
            let name = parameter.get_id();
            return Err(Error::new(
                ErrorKind::Settings,
                format!("the job parameter `{name}` has the name of a flag of the engine; rename it"),
            ));
        }
    }
    Ok(())
}

/// Adds the settings that were given as flags.
pub(super) fn add_flags(matches: &ArgMatches, sources: &mut Sources) {
    for (id, _, _) in SETTINGS {
        if matches.value_source(id) == Some(ValueSource::CommandLine) {
            let origin = format!("flag --{}", id.replace('_', "-"));
            let raw = matches.get_raw(id).and_then(|mut values| values.next());
            let text = raw.map_or_else(|| "true".into(), |raw| raw.to_string_lossy());
            sources.add_flag(id, &text, &origin);
        }
    }
}

/// The format that `plan` was asked for.
pub(super) fn plan_format(matches: &ArgMatches) -> PlanFormat {
    matches.get_one(FORMAT).copied().unwrap_or(PlanFormat::Text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::launch::{NoParams, read_settings};

    /// What a process makes of its sources, all settings in one table.
    fn settings(sources: &Sources) -> Value {
        let (launch, cluster, mistakes) = read_settings(&sources.settings).unwrap();
        assert_eq!(mistakes, [""; 0]);
        let mut all = serde_json::to_value(cluster).unwrap();
        let launch = serde_json::to_value(launch).unwrap();
        all.as_object_mut().unwrap().extend(launch.as_object().unwrap().clone());
        all
    }

    #[test]
    fn every_flag_shows_its_default() {
        let engine = with_settings(Command::new("engine"));
        for (id, ..) in SETTINGS {
            let flag = engine.get_arguments().find(|flag| flag.get_id() == id).unwrap();
            let help = flag.get_help().unwrap().to_string();
            let shows = help.contains(" [default: ") || help.contains(" [required ");
            assert!(shows && help.ends_with(']'), "--{id}: {help}");
        }
        let help = |id: &str| {
            let flag = engine.get_arguments().find(|flag| flag.get_id() == id).unwrap();
            flag.get_help().unwrap().to_string()
        };
        assert!(help("checkpoint_interval").ends_with("[default: 1s]"));
        assert!(help("parallelism").ends_with("[default: 1]"));
        assert!(help("role").ends_with("[default: local]"));
    }

    #[test]
    fn every_flag_is_a_key_and_a_variable() {
        let values = [
            ("role", "taskmanager"),
            ("listen", "0.0.0.0:6200"),
            ("jobmanager", "host:6123"),
            ("secret_file", "/run/secret"),
            ("tls_cert", "cert.pem"),
            ("tls_key", "key.pem"),
            ("tls_ca", "ca.pem"),
            ("insecure", "true"),
            ("slots", "7"),
            ("parallelism", "8"),
            ("checkpoint_dir", "file:///var/lib/job"),
            ("checkpoint_interval", "9s"),
            ("again", "true"),
        ];
        assert_eq!(values.map(|(id, _)| id), SETTINGS.map(|(id, _, _)| id));
        let defaults = settings(&Sources::default());
        for (id, value) in values {
            let info = JobInfo { name: "job", version: "1", about: "" };
            let flag = format!("--{}", id.replace('_', "-"));
            let line = if value == "true" { vec!["job", &flag] } else { vec!["job", &flag, value] };
            let matches = command::<NoParams>(info).unwrap().try_get_matches_from(line).unwrap();
            let [mut by_flag, mut by_key, mut by_variable, mut by_set] = [(); 4].map(|()| Sources::default());
            add_flags(&matches, &mut by_flag);
            by_key.add_file(Path::new("flott.toml"), &format!("{id} = {}", toml(value))).unwrap();
            let variable = format!("FLOTT_{}", id.to_ascii_uppercase());
            by_variable.add_environment(std::iter::once((variable, value.to_owned())));
            by_set.add_assignment(&format!("{id}={value}")).unwrap();
            let expected = settings(&by_flag);
            assert_ne!(expected[id], defaults[id], "{id}");
            for sources in [by_key, by_variable, by_set] {
                assert_eq!(settings(&sources), expected, "{id}: {sources:?}");
            }
        }
    }

    /// As a person writes it in a file.
    fn toml(value: &str) -> String {
        let is_bare = value == "true" || value.parse::<u32>().is_ok();
        if is_bare { value.to_owned() } else { format!("{value:?}") }
    }
}
