//! The job's own parameters, from the same places as settings.
//!
//! clap knows how to turn text into each parameter's type, so that a value from a file or a variable is given to clap
//! as if it had been typed. Defaults are clap's own and lose against everything.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command, error::ErrorKind as ClapError, parser::ValueSource};
use figment::value::Value;

use crate::{
    launch::Parameters,
    settings::{self, Layers, Sourced},
};

/// Parameters from flags over variables over files over defaults. Unknown, missing and malformed ones are noted in
/// `mistakes`, with the place it came from; then there are none.
pub(super) fn resolve<P: Parameters>(
    matches: &ArgMatches,
    layers: &Layers,
    mistakes: &mut Vec<String>,
) -> Option<P> {
    let command = P::augment_args(Command::new("parameters").no_binary_name(true));
    let known: Vec<&str> = command.get_arguments().map(|arg| arg.get_id().as_str()).collect();
    let mut found = settings::unknown_keys(layers, &known);
    let mut line = Vec::new();
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        if matches.value_source(id) == Some(ValueSource::CommandLine) {
            type_as_given(arg, matches, &mut line);
        } else if let Some(sourced) = layers.get(id) {
            match typed_and_parsed(arg, sourced) {
                Ok(typed) => line.extend(typed),
                Err(mistake) => found.push(mistake),
            }
        }
    }
    let mut parameters = None;
    // Missing parameters show only when everything else is right.
    if found.is_empty() {
        let parsed = command.try_get_matches_from(line).and_then(|matches| P::from_arg_matches(&matches));
        parameters = parsed.map_err(|error| found.push(explain(&error))).ok();
    }
    mistakes.extend(found);
    parameters
}

/// A value of a file or a variable as if it had been typed, if clap takes it.
fn typed_and_parsed(arg: &Arg, sourced: &Sourced) -> Result<Vec<OsString>, String> {
    let mut typed = Vec::new();
    type_value(arg, sourced, &mut typed)?;
    let alone = Command::new("parameter").no_binary_name(true).disable_help_flag(true);
    let parsed = alone.arg(arg.clone().required(false)).try_get_matches_from(&typed);
    parsed.map_err(|error| format!("{} ({})", explain(&error), sourced.origin))?;
    Ok(typed)
}

/// The message of clap about a mistake, without the usage of the command.
fn explain(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut text =
        text.trim_start_matches("error: ").split("\n\nUsage").next().unwrap_or_default().trim().to_string();
    if let Some((mistake, _)) = text.split_once("\n\nFor more information") {
        text = mistake.trim().to_owned();
    }
    if error.kind() == ClapError::MissingRequiredArgument {
        text.push_str(
            "\ngive it as a flag, as a key of [params] in flott.toml, or as a variable FLOTT_PARAMS__…",
        );
    }
    format!("job parameters: {text}")
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count)
}

fn flag(arg: &Arg) -> OsString {
    OsString::from(format!("--{}", arg.get_long().unwrap_or(arg.get_id().as_str())))
}

fn type_as_given(arg: &Arg, matches: &ArgMatches, line: &mut Vec<OsString>) {
    if is_switch(arg) {
        line.push(flag(arg));
        return;
    }
    for raw in matches.get_raw(arg.get_id().as_str()).into_iter().flatten() {
        push(arg, raw, line);
    }
}

fn push(arg: &Arg, raw: &std::ffi::OsStr, line: &mut Vec<OsString>) {
    if arg.is_positional() {
        line.push(raw.into());
        return;
    }
    let mut typed = flag(arg);
    typed.push("=");
    typed.push(raw);
    line.push(typed);
}

/// # Errors
/// When a switch is given something that is neither on nor off.
fn type_value(arg: &Arg, sourced: &Sourced, line: &mut Vec<OsString>) -> Result<(), String> {
    let text = |value: &Value| match value {
        Value::String(_, text) => text.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    };
    match &sourced.value {
        value if is_switch(arg) => line.extend(vec![flag(arg); times(arg, &text(value), &sourced.origin)?]),
        Value::Array(_, values) => values.iter().for_each(|value| push(arg, text(value).as_ref(), line)),
        value => push(arg, text(value).as_ref(), line),
    }
    Ok(())
}

/// How often a switch is to be typed for a value from a file or a variable.
fn times(arg: &Arg, text: &str, origin: &str) -> Result<usize, String> {
    let times = match text {
        "true" => Some(1),
        "false" => Some(0),
        // `-vvv` on the command line; a number elsewhere.
        count if matches!(arg.get_action(), ArgAction::Count) => count.parse::<u8>().ok().map(usize::from),
        _ => None,
    };
    times.ok_or_else(|| format!("job parameter `{}` ({origin}) is true or false, not {text:?}", arg.get_id()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{
        launch::{JobInfo, cli},
        settings::Sources,
    };

    #[derive(Debug, PartialEq, clap::Args, Serialize, Deserialize)]
    struct Params {
        #[arg(long)]
        brokers: String,
        #[arg(long, default_value_t = 100)]
        tiny_cents: i64,
        #[arg(long)]
        bounded: bool,
        #[arg(long)]
        topics: Vec<String>,
    }

    fn resolved<P: Parameters>(matches: &ArgMatches, sources: &Sources) -> Result<P, String> {
        let mut mistakes = Vec::new();
        resolve(matches, &sources.parameters, &mut mistakes).ok_or_else(|| mistakes.join("\n"))
    }

    fn resolve_with(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Params, String> {
        let mut sources = Sources::default();
        sources.add_file(Path::new("flott.toml"), file).unwrap();
        sources.add_environment(variables.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        let info = JobInfo { name: "job", version: "1", about: "" };
        let line = std::iter::once("job").chain(flags.iter().copied());
        let matches = cli::command::<Params>(info).unwrap().try_get_matches_from(line).unwrap();
        resolved(&matches, &sources)
    }

    #[test]
    fn flags_win_over_variables_over_files_over_defaults() {
        let file = "[params]\nbrokers = '0123'\ntiny_cents = 7\nbounded = true\ntopics = ['a', 'b']";
        let params = resolve_with(file, &[], &[]).unwrap();
        let topics = vec!["a".to_string(), "b".into()];
        assert_eq!(params, Params { brokers: "0123".into(), tiny_cents: 7, bounded: true, topics });
        let params = resolve_with(file, &[("FLOTT_PARAMS__TINY_CENTS", "8")], &["--brokers", "42"]).unwrap();
        assert_eq!((params.brokers.as_str(), params.tiny_cents), ("42", 8));
        assert_eq!(resolve_with("", &[], &["--brokers=x"]).unwrap().tiny_cents, 100);
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let error = resolve_with("", &[], &[]).unwrap_err();
        assert!(error.contains("--brokers") && error.contains("FLOTT_PARAMS__"), "{error}");
        let error = resolve_with("[params]\nbroker = 'x'", &[], &[]).unwrap_err();
        assert!(
            error.contains("unknown setting `broker`") && error.contains("did you mean `brokers`"),
            "{error}"
        );
        let variables = [("FLOTT_PARAMS__TINY_CENTS", "few"), ("FLOTT_PARAMS__BROKERS", "b")];
        let error = resolve_with("", &variables, &[]).unwrap_err();
        assert!(error.contains("'few'") && error.contains("variable FLOTT_PARAMS__TINY_CENTS"), "{error}");
        let file = "[params]\nbroker = 'x'\ntiny_cents = 'few'\nbounded = 7";
        let mistakes = resolve_with(file, &[], &[]).unwrap_err();
        assert_eq!(mistakes.lines().count(), 3, "all of them: {mistakes}");
    }

    #[test]
    fn a_switch_is_on_or_off() {
        let bounded = |text: &str| {
            let variables = [("FLOTT_PARAMS__BOUNDED", text), ("FLOTT_PARAMS__BROKERS", "b")];
            resolve_with("", &variables, &[]).map(|params| params.bounded)
        };
        assert!(bounded("true").unwrap());
        assert!(!bounded("false").unwrap());
        for text in ["1", "yes", "True", ""] {
            let error = bounded(text).unwrap_err();
            assert!(
                error.contains("`bounded`") && error.contains("variable FLOTT_PARAMS__BOUNDED"),
                "{error}"
            );
            assert!(error.contains(&format!("true or false, not {text:?}")), "{error}");
        }
        let error = resolve_with("[params]\nbrokers = 'b'\nbounded = 1", &[], &[]).unwrap_err();
        assert!(error.contains("[params] in flott.toml"), "{error}");
        assert!(resolve_with("[params]\nbrokers = 'b'\nbounded = 'true'", &[], &[]).unwrap().bounded);
    }

    #[test]
    fn a_counted_switch_takes_a_number() {
        #[derive(Debug, clap::Args, Serialize, Deserialize)]
        struct Counted {
            #[arg(long, action = ArgAction::Count)]
            verbose: u8,
        }
        let verbose = |text: &str| {
            let mut sources = Sources::default();
            let variable = ("FLOTT_PARAMS__VERBOSE".to_owned(), text.to_owned());
            sources.add_environment(std::iter::once(variable));
            let info = JobInfo { name: "job", version: "1", about: "" };
            let matches = cli::command::<Counted>(info).unwrap().try_get_matches_from(["job"]).unwrap();
            resolved::<Counted>(&matches, &sources).map(|params| params.verbose)
        };
        assert_eq!(verbose("3").unwrap(), 3);
        assert_eq!(verbose("true").unwrap(), 1);
        assert!(verbose("very").is_err());
    }

    #[test]
    fn a_parameter_cannot_shadow_a_flag_of_the_engine() {
        #[derive(clap::Args, Serialize, Deserialize)]
        struct Clash {
            #[arg(long)]
            slots: u32,
        }
        let info = JobInfo { name: "job", version: "1", about: "" };
        assert!(cli::command::<Clash>(info).unwrap_err().to_string().contains("`slots`"));
    }
}
