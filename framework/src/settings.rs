//! Where settings come from: defaults < `flott.toml` < `FLOTT_…` variables < flags. Read once, here.
//!
//! Every value keeps the place it came from, so that an error can name it. Text stays text: a broker name or password
//! that looks like a number is not turned into one, because the type of each key is taken from the defaults.

use std::{collections::BTreeMap, path::Path};

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::Serialized,
    value::{Dict, Map, Value},
};
use flott_core::{Error, ErrorKind, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Name of the settings file that is read from the working directory when there is one.
pub(crate) const FILE: &str = "flott.toml";

const PREFIX: &str = "FLOTT_";
const PARAMETERS_TABLE: &str = "params";
const PARAMETERS_PREFIX: &str = "PARAMS__";

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sourced {
    pub(crate) value: Value,
    pub(crate) origin: String,
}

/// Values by key: a later layer has won over an earlier one.
pub(crate) type Layers = BTreeMap<String, Sourced>;

/// Settings of the engine and parameters of the job, as written in all places but the flags.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Sources {
    pub(crate) settings: Layers,
    pub(crate) parameters: Layers,
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Settings, message)
}

impl Sources {
    /// Adds a settings file.
    pub(crate) fn add_file(&mut self, path: &Path, text: &str) -> Result<()> {
        let origin = path.display().to_string();
        let table = toml::from_str::<Dict>(text);
        let mut table = table.map_err(|error| {
            let reason = without_excerpt(&error.to_string());
            invalid(format!("{origin} is not valid TOML: {reason}"))
        })?;
        match table.remove(PARAMETERS_TABLE) {
            Some(Value::Dict(_, parameters)) => {
                add(&mut self.parameters, parameters, &format!("[params] in {origin}"));
            }
            Some(_) => {
                return Err(invalid(format!("`params` in {origin} must be a table: write `[params]`")));
            }
            None => {}
        }
        add(&mut self.settings, table, &origin);
        Ok(())
    }

    /// Adds environment variables: `FLOTT_CHECKPOINT_DIR` for a setting, `FLOTT_PARAMS__BROKERS` for a parameter.
    pub(crate) fn add_environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        for (name, text) in variables {
            let Some(key) = name.strip_prefix(PREFIX).filter(|key| !is_service_link(key)) else { continue };
            let sourced = Sourced { value: text.into(), origin: format!("variable {name}") };
            match key.strip_prefix(PARAMETERS_PREFIX) {
                Some(parameter) => self.parameters.insert(parameter.to_ascii_lowercase(), sourced),
                None => self.settings.insert(key.to_ascii_lowercase(), sourced),
            };
        }
    }

    /// Adds `KEY=VALUE` of a `--set` flag.
    pub(crate) fn add_assignment(&mut self, assignment: &str) -> Result<()> {
        let (key, text) = assignment.split_once('=').ok_or_else(|| {
            invalid(format!(
                "--set {assignment}: write --set KEY=VALUE, for example --set checkpoint_timeout=30s"
            ))
        })?;
        self.add_flag(key.trim(), text.trim(), &format!("--set {}", key.trim()));
        Ok(())
    }

    /// Adds a setting given by a flag of its own.
    pub(crate) fn add_flag(&mut self, key: &str, text: &str, origin: &str) {
        let sourced = Sourced { value: text.into(), origin: origin.into() };
        self.settings.insert(key.into(), sourced);
    }
}

/// A parser's message without the lines of the file that it quotes: they may hold a password.
fn without_excerpt(message: &str) -> String {
    let is_quoted = |line: &&str| {
        line.trim_start_matches([' ', '\t'])
            .trim_start_matches(char::is_numeric)
            .trim_start()
            .starts_with('|')
    };
    let lines: Vec<_> = message.lines().filter(|line| !is_quoted(line)).map(str::trim).collect();
    lines.join("; ")
}

/// Kubernetes tells every container of a Service named `flott` by `FLOTT_SERVICE_HOST`, `FLOTT_PORT` and more.
fn is_service_link(key: &str) -> bool {
    key == "PORT" || ["SERVICE_", "PORT_"].iter().any(|prefix| key.starts_with(prefix))
}

fn add(layers: &mut Layers, table: Dict, origin: &str) {
    for (key, value) in table {
        layers.insert(key, Sourced { value, origin: origin.into() });
    }
}

/// One key of one layer, as figment wants it: so its errors can name the place.
struct Assignment<'a> {
    key: &'a str,
    value: Value,
    origin: &'a str,
}

impl Provider for Assignment<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let dict = Dict::from([(self.key.to_string(), self.value.clone())]);
        Ok(Profile::Default.collect(dict))
    }
}

/// Names the layers with a key that no setting has.
pub(crate) fn unknown_keys(layers: &Layers, known: &[&str]) -> Vec<String> {
    let unknown = layers.iter().filter(|(key, _)| !known.contains(&key.as_str()));
    unknown.map(|(key, sourced)| unknown_key(key, &sourced.origin, known)).collect()
}

/// The keys of a settings struct.
pub(crate) fn keys_of<S: Default + Serialize>() -> Result<Vec<String>> {
    Ok(defaults::<S>()?.into_keys().collect())
}

/// Makes a settings struct of those layers that it has a key for, over its defaults. Each value that is wrong is noted in
/// `mistakes`, with the place it came from, and counts as not set.
///
/// # Errors
/// When the struct cannot be read back from its own defaults, a bug.
pub(crate) fn extract<S: Default + Serialize + DeserializeOwned>(
    layers: &Layers,
    mistakes: &mut Vec<String>,
) -> Result<S> {
    let defaults = defaults::<S>()?;
    let mut figment = Figment::from(Serialized::defaults(S::default()));
    for (key, Sourced { value, origin }) in layers {
        let Some(default) = defaults.get(key) else { continue };
        let assignment = Assignment { key, value: coerce(value, default), origin };
        let with_it = figment.clone().merge(assignment);
        match with_it.extract::<S>() {
            Ok(_) => figment = with_it,
            Err(errors) => mistakes.extend(
                errors.into_iter().map(|error| format!("setting `{key}` ({origin}): {}", error.kind)),
            ),
        }
    }
    figment.extract::<S>().map_err(|error| Error::internal(error.to_string()))
}

fn defaults<S: Default + Serialize>() -> Result<Dict> {
    let defaults = Figment::from(Serialized::defaults(S::default())).extract();
    defaults.map_err(|error| Error::internal(error.to_string()))
}

/// One error for all mistakes, one line each.
///
/// # Errors
/// When there is one.
pub(crate) fn refuse(mistakes: Vec<String>) -> Result<()> {
    if mistakes.is_empty() { Ok(()) } else { Err(invalid(mistakes.join("\nerror: "))) }
}

/// Text that stands for a number or a truth value becomes one where the default is one; elsewhere text stays text.
fn coerce(value: &Value, default: &Value) -> Value {
    let Value::String(_, text) = value else { return value.clone() };
    let parsed: Option<Value> = match default {
        // Not as 128 bits: serde does not take those for a smaller number.
        Value::Num(..) => {
            let unsigned = || text.parse::<u64>().ok().map(Value::from);
            let signed = || text.parse::<i64>().ok().map(Value::from);
            let float = || text.parse::<f64>().ok().map(Value::from);
            unsigned().or_else(signed).or_else(float)
        }
        Value::Bool(..) => text.parse::<bool>().ok().map(Value::from),
        // Lists and tables are written as in a file.
        Value::Array(..) | Value::Dict(..) => {
            toml::from_str::<Dict>(&format!("value = {text}")).ok().and_then(|mut dict| dict.remove("value"))
        }
        _ => None,
    };
    parsed.unwrap_or_else(|| value.clone())
}

/// Says that a key does not exist, where it was written, and which one was perhaps meant.
pub(crate) fn unknown_key(key: &str, origin: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|name| (distance(key, name), *name)).min();
    let hint = match nearest {
        Some((distance, name)) if distance <= 1 + key.len() / 4 => format!("; did you mean `{name}`?"),
        _ => format!("; known keys are {}", known.join(", ")),
    };
    format!("unknown setting `{key}` ({origin}){hint}")
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        slots: u32,
        name: String,
        checkpoint_dir: Option<String>,
        again: bool,
    }

    impl Default for Sample {
        fn default() -> Self {
            Self { slots: 1, name: "x".into(), checkpoint_dir: None, again: false }
        }
    }

    fn sample(sources: &Sources) -> (Sample, Vec<String>) {
        let known = keys_of::<Sample>().unwrap();
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        let mut mistakes = unknown_keys(&sources.settings, &known);
        (extract(&sources.settings, &mut mistakes).unwrap(), mistakes)
    }

    fn environment(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn later_layers_win_and_text_stays_text() {
        let mut sources = Sources::default();
        sources.add_file(Path::new(FILE), "slots = 2\nname = 'file'\n[params]\nbrokers = 'b'").unwrap();
        sources.add_environment(environment(&[
            ("FLOTT_SLOTS", "3"),
            ("FLOTT_CHECKPOINT_DIR", "0123"),
            ("FLOTT_PARAMS__GROUP", "42"),
            ("OTHER", "1"),
        ]));
        sources.add_assignment("again=true").unwrap();
        sources.add_flag("name", "7", "--name");
        let expected =
            Sample { slots: 3, name: "7".into(), checkpoint_dir: Some("0123".into()), again: true };
        assert_eq!(sample(&sources), (expected, Vec::new()));
        assert_eq!(sources.parameters["group"].value, Value::from("42"));
        assert_eq!(sources.parameters["brokers"].origin, "[params] in flott.toml");
    }

    #[test]
    fn a_kubernetes_service_of_this_name_sets_nothing() {
        let mut sources = Sources::default();
        sources.add_environment(environment(&[
            ("FLOTT_SERVICE_HOST", "10.0.0.1"),
            ("FLOTT_SERVICE_PORT_RPC", "6123"),
            ("FLOTT_PORT", "tcp://10.0.0.1:6123"),
            ("FLOTT_PORT_6123_TCP_ADDR", "10.0.0.1"),
        ]));
        assert_eq!(sources, Sources::default());
        for key in crate::launch::setting_keys().unwrap() {
            assert!(!is_service_link(&key.to_ascii_uppercase()), "{key} cannot be set by a variable");
        }
    }

    #[test]
    fn all_mistakes_are_reported_and_name_their_place() {
        let mut sources = Sources::default();
        let file = "nam = 'x'\nslots = 'three'\nagain = 7\ncheckpoint_dir = 'right'";
        sources.add_file(Path::new(FILE), file).unwrap();
        sources.add_environment(environment(&[("FLOTT_SLOT", "3"), ("FLOTT_COLOUR", "blue")]));
        sources.add_assignment("slots=many").unwrap();
        let (sample, mistakes) = sample(&sources);
        assert_eq!(sample, Sample { checkpoint_dir: Some("right".into()), ..Sample::default() });
        let expected = [
            "unknown setting `colour` (variable FLOTT_COLOUR); known keys are again, checkpoint_dir, name, slots",
            "unknown setting `nam` (flott.toml); did you mean `name`?",
            "unknown setting `slot` (variable FLOTT_SLOT); did you mean `slots`?",
            "setting `again` (flott.toml): invalid type: found signed int `7`, expected a boolean",
            "setting `slots` (--set slots): invalid type: found string \"many\", expected u32",
        ];
        assert_eq!(mistakes, expected);
        let error = refuse(mistakes).unwrap_err();
        assert_eq!((error.kind(), error.to_string().lines().count()), (ErrorKind::Settings, 5));
        let file = "[params]\npassword = \"swordfish\n";
        let error = Sources::default().add_file(Path::new(FILE), file).unwrap_err();
        assert!(error.to_string().contains("line 2, column"), "{error}");
        assert!(!error.to_string().contains("swordfish"), "{error}");
        assert!(Sources::default().add_assignment("slots").is_err());
    }
}
