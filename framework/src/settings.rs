//! Where settings come from: defaults < `flott.toml` < `FLOTT_…` variables < flags. Read once, here.
//!
//! Every value keeps the place it came from, so that an error can name it. Text stays text: a broker name or password
//! that looks like a number is not turned into one, because the type of each key is taken from the defaults.

use std::{collections::BTreeMap, path::Path};

use figment::{
    Figment, Metadata, Profile, Provider,
    error::Kind,
    providers::{Format, Serialized, Toml},
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
        let table = Figment::from(Toml::string(text)).extract::<Dict>();
        let mut table = table.map_err(|error| invalid(format!("{origin} is not valid TOML: {error}")))?;
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

/// Makes a settings struct of layers over its defaults.
///
/// # Errors
/// Unknown keys and values of the wrong type; each names the place it came from.
pub(crate) fn extract<S: Default + Serialize + DeserializeOwned>(layers: &Layers) -> Result<S> {
    let mut figment = Figment::from(Serialized::defaults(S::default()));
    let defaults: Dict = figment.extract().map_err(|error| Error::internal(error.to_string()))?;
    for (key, sourced) in layers {
        let value = defaults
            .get(key)
            .map_or_else(|| sourced.value.clone(), |default| coerce(&sourced.value, default));
        figment = figment.merge(Assignment { key, value, origin: &sourced.origin });
    }
    figment.extract::<S>().map_err(|errors| {
        let known: Vec<&str> = defaults.keys().map(String::as_str).collect();
        let lines: Vec<_> = errors.into_iter().map(|error| explain(&error, layers, &known)).collect();
        invalid(lines.join("\n"))
    })
}

fn explain(error: &figment::Error, layers: &Layers, known: &[&str]) -> String {
    let key = match &error.kind {
        Kind::UnknownField(key, _) => key.clone(),
        _ => error.path.join("."),
    };
    let origin = layers.get(&key).map_or("defaults", |sourced| sourced.origin.as_str());
    match &error.kind {
        Kind::UnknownField(..) => unknown_key(&key, origin, known),
        kind => format!("setting `{key}` ({origin}): {kind}"),
    }
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
            let parsed = Figment::from(Toml::string(&format!("value = {text}"))).extract::<Dict>();
            parsed.ok().and_then(|mut dict| dict.remove("value"))
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
        let sample: Sample = extract(&sources.settings).unwrap();
        let expected =
            Sample { slots: 3, name: "7".into(), checkpoint_dir: Some("0123".into()), again: true };
        assert_eq!(sample, expected);
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
        let settings = serde_json::to_value(flott_cluster::ClusterSettings::default()).unwrap();
        for key in settings.as_object().unwrap().keys().map(String::as_str).chain(crate::launch::LAUNCH_KEYS)
        {
            assert!(!is_service_link(&key.to_ascii_uppercase()), "{key} cannot be set by a variable");
        }
    }

    #[test]
    fn mistakes_name_their_place() {
        let error_of = |fill: &dyn Fn(&mut Sources)| {
            let mut sources = Sources::default();
            fill(&mut sources);
            extract::<Sample>(&sources.settings).unwrap_err().to_string()
        };
        let error = error_of(&|sources| sources.add_environment(environment(&[("FLOTT_SLOT", "3")])));
        assert_eq!(error, "unknown setting `slot` (variable FLOTT_SLOT); did you mean `slots`?");
        let error = error_of(&|sources| sources.add_assignment("slots=many").unwrap());
        assert!(error.contains("--set slots") && error.contains("many"), "{error}");
        assert!(Sources::default().add_file(Path::new(FILE), "a = ").is_err());
        assert!(Sources::default().add_assignment("slots").is_err());
    }
}
