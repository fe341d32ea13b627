use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    record::{Key, Record, Schema},
    time::EventTime,
};

/// The kind of a state: it decides how entries are laid out and what becomes of them at another parallelism. In JSON it is
/// a word. Flott writes values, maps, timers, windows and operator lists; the other words are reserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum StateKind {
    /// One value per key.
    Value,
    /// One ordered map per key.
    Map,
    /// One list per key.
    List,
    /// Pairs of time and key.
    Timer,
    /// One accumulator per namespace and key.
    Window,
    /// A map that all subtasks have alike.
    Broadcast,
    /// Items that are dealt out to the subtasks.
    OperatorList,
    /// Items of which every subtask gets all.
    OperatorUnion,
    /// A kind that only a later version of Flott knows.
    Unknown(String),
}

impl StateKind {
    const NAMES: [(Self, &'static str); 8] = [
        (Self::Value, "value"),
        (Self::Map, "map"),
        (Self::List, "list"),
        (Self::Timer, "timer"),
        (Self::Window, "window"),
        (Self::Broadcast, "broadcast"),
        (Self::OperatorList, "operator-list"),
        (Self::OperatorUnion, "operator-union"),
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unknown(name) => name,
            known => Self::NAMES.iter().find(|(kind, _)| kind == known).map_or("", |(_, name)| name),
        }
    }
}

impl From<String> for StateKind {
    fn from(name: String) -> Self {
        let known = Self::NAMES.into_iter().find(|(_, known)| *known == name);
        known.map_or(Self::Unknown(name), |(kind, _)| kind)
    }
}

impl From<StateKind> for String {
    fn from(kind: StateKind) -> Self {
        kind.as_str().to_owned()
    }
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The clock that a timer or a time to live goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeDomain {
    /// The watermark.
    EventTime,
    /// The wall clock.
    ProcessingTime,
}

impl fmt::Display for TimeDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EventTime => "event time",
            Self::ProcessingTime => "processing time",
        })
    }
}

/// The time that an entry lives after its last change. Reserved in snapshots and manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ttl {
    /// Its length, in milliseconds.
    pub duration_ms: u64,
    /// The clock that it goes by.
    pub time: TimeDomain,
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms of {}", self.duration_ms, self.time)
    }
}

/// The optional parts of a declaration. Each has a default, so that later versions can add some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateOptions {
    /// The time that an entry lives; for ever if there is none.
    pub ttl: Option<Ttl>,
    /// The schema of the namespaces that divide the entries of a key: the windows of window state.
    pub namespace: Option<Schema>,
}

/// A state of an operator: known before the job runs, written beside the entries, compared at restore. A reader ignores
/// JSON fields that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDeclaration {
    /// Its name, unique within the operator: that of the field.
    pub name: String,
    /// Its kind.
    pub kind: StateKind,
    /// The schema of the keys, if it is keyed.
    #[serde(default)]
    pub key: Option<Schema>,
    /// The schema of values, maps, accumulators or items.
    pub schema: Schema,
    /// Its options.
    #[serde(default)]
    pub options: StateOptions,
}

impl StateDeclaration {
    fn new(name: &str, kind: StateKind, key: Option<Schema>, schema: Schema) -> Self {
        Self { name: name.into(), kind, key, schema, options: StateOptions::default() }
    }

    /// One value per key.
    #[must_use]
    pub fn value<K: Key, V: Record>(name: &str) -> Self {
        Self::new(name, StateKind::Value, Some(K::schema()), V::schema())
    }

    /// One ordered map per key.
    #[must_use]
    pub fn map<K: Key, M: Record, V: Record>(name: &str) -> Self {
        let schema = Schema::Map(Box::new(M::schema()), Box::new(V::schema()));
        Self::new(name, StateKind::Map, Some(K::schema()), schema)
    }

    /// Timers.
    #[must_use]
    pub fn timer<K: Key>(name: &str, time: TimeDomain) -> Self {
        let schema = Schema::primitive(match time {
            TimeDomain::EventTime => "EventTimer",
            TimeDomain::ProcessingTime => "ProcessingTimer",
        });
        Self::new(name, StateKind::Timer, Some(K::schema()), schema)
    }

    /// One accumulator per window and key. Windows are known by their start.
    #[must_use]
    pub fn window<K: Key, A: Record>(name: &str) -> Self {
        let options = StateOptions { namespace: Some(EventTime::schema()), ..StateOptions::default() };
        Self { options, ..Self::new(name, StateKind::Window, Some(K::schema()), A::schema()) }
    }

    /// Items that are dealt out to the subtasks.
    #[must_use]
    pub fn operator_list<T: Record>(name: &str) -> Self {
        Self::new(name, StateKind::OperatorList, None, T::schema())
    }

    /// Makes sure that state of this declaration can be written and read.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub fn check(&self) -> Result<(), String> {
        self.schema.check()?;
        let others = [("key", &self.key), ("namespace", &self.options.namespace)];
        others.into_iter().try_for_each(|(what, schema)| match schema {
            Some(schema) => schema.check().map_err(|why| format!("its {what}: {why}")),
            None => Ok(()),
        })
    }

    /// The schema of its entries, which snapshot files of format 1 have in place of a declaration; none if that format has
    /// no such state.
    #[must_use]
    pub fn entry_schema(&self) -> Option<Schema> {
        let key = ("key", self.key.clone()?);
        let fields = match self.kind {
            StateKind::Value => vec![key, ("value", self.schema.clone())],
            StateKind::Map => vec![key, ("map", self.schema.clone())],
            StateKind::Timer => vec![("time", i64::schema()), key],
            StateKind::Window => {
                let window = ("window", self.options.namespace.clone()?);
                vec![window, key, ("accumulator", self.schema.clone())]
            }
            _ => return None,
        };
        let fields = fields.into_iter().map(|(name, schema)| (name.to_owned(), schema));
        Some(Schema::Struct(String::new(), fields.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(declaration: &StateDeclaration) -> StateDeclaration {
        serde_json::from_str(&serde_json::to_string(declaration).unwrap()).unwrap()
    }

    #[test]
    fn every_kind_and_option_survives_json() {
        let ttl = Some(Ttl { duration_ms: 60_000, time: TimeDomain::ProcessingTime });
        let options = StateOptions { ttl, namespace: Some(EventTime::schema()) };
        let kinds = StateKind::NAMES.map(|(kind, _)| kind);
        for kind in kinds.into_iter().chain([StateKind::Unknown("channel".into())]) {
            let value = StateDeclaration::value::<u64, String>("count");
            let declaration = StateDeclaration { kind, options: options.clone(), ..value };
            assert_eq!(round_trip(&declaration), declaration);
        }
        let list = StateDeclaration::operator_list::<Vec<u8>>("splits");
        assert_eq!(round_trip(&list), list);
    }

    /// As it is in snapshot files and manifests, for ever.
    #[test]
    fn the_json_of_a_declaration_is_frozen() {
        let json = serde_json::to_string(&StateDeclaration::window::<u32, bool>("windows")).unwrap();
        let expected = concat!(
            r#"{"name":"windows","kind":"window","key":{"Primitive":"u32"},"schema":{"Primitive":"bool"},"#,
            r#""options":{"ttl":null,"namespace":{"Primitive":"EventTime"}}}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn later_fields_are_ignored_and_missing_ones_have_defaults() {
        let json = r#"{"name":"splits","kind":"operator-list","schema":{"Primitive":"u8"}}"#;
        let read: StateDeclaration = serde_json::from_str(json).unwrap();
        assert_eq!(read, StateDeclaration::operator_list::<u8>("splits"));
        let json = r#"{"later":[1],"name":"splits","kind":"operator-list","schema":{"Primitive":"u8"},
                       "options":{"compression":{"level":3}}}"#;
        assert_eq!(serde_json::from_str::<StateDeclaration>(json).unwrap(), read);
        assert!(serde_json::from_str::<StateDeclaration>(r#"{"name":"splits"}"#).is_err());
    }

    #[test]
    fn keys_and_namespaces_are_checked_as_values_are() {
        let bad = || Some(Schema::Invalid("no end".into()));
        let value = StateDeclaration::value::<u64, u64>("count");
        value.check().unwrap();
        let keyed = StateDeclaration { key: bad(), ..value.clone() };
        assert_eq!(keyed.check().unwrap_err(), "its key: no end");
        let options = StateOptions { namespace: bad(), ..StateOptions::default() };
        assert_eq!(StateDeclaration { options, ..value }.check().unwrap_err(), "its namespace: no end");
    }
}
