//! The judgement of written state against a declaration. It looks at schemas alone, so that the JobManager can pass it
//! before anything is deployed.

use std::fmt;

use super::{StateDeclaration, StateKind, Ttl};
use crate::{
    error::{Error, ErrorKind},
    record::Schema,
};

/// Enums with up to so many variants number them by one byte, larger ones by two.
const SMALL_ENUM_VARIANTS_MAX: usize = 256;

/// The ways out for state that cannot go on.
pub const WAY_OUT: &str = "run the binary that wrote the checkpoint, declare the state as it was, or start from an empty \
                           checkpoint directory";

/// The judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The state goes on as it was.
    Same,
    /// The entries can be read as they are, and the state goes on with these changes.
    Migrates(Vec<Change>),
    /// The state cannot go on.
    Refused(Vec<Difference>),
}

/// A difference that does not stand in the way of a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An enum has one variant more, behind all that it had.
    VariantAdded {
        /// The enum's place in the state.
        place: String,
        /// The variant.
        variant: String,
    },
    /// Entries live for another time, on the same clock.
    TtlDuration {
        /// The time when it was written.
        written: Ttl,
        /// The time from now on.
        declared: Ttl,
    },
}

/// A difference that stands in the way of a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Another kind of state.
    Kind {
        /// The kind that was written.
        written: StateKind,
        /// The kind that is declared.
        declared: StateKind,
    },
    /// Another type.
    Type {
        /// Its place in the state.
        place: String,
        /// The type that was written.
        written: String,
        /// The type that is declared.
        declared: String,
    },
    /// A field that was not written.
    FieldAdded {
        /// The struct's place in the state.
        place: String,
        /// The field.
        field: String,
    },
    /// A field that is not declared.
    FieldRemoved {
        /// The struct's place in the state.
        place: String,
        /// The field.
        field: String,
    },
    /// The same fields in another order.
    FieldsReordered {
        /// The struct's place in the state.
        place: String,
    },
    /// A number that meant another variant.
    Variant {
        /// The enum's place in the state.
        place: String,
        /// The number.
        number: usize,
        /// The variant that was written.
        written: String,
        /// The variant that is declared.
        declared: String,
    },
    /// A variant that is not declared.
    VariantRemoved {
        /// The enum's place in the state.
        place: String,
        /// The variant.
        variant: String,
    },
    /// The number of variants has grown or shrunk past the limit at which they are numbered in another way.
    VariantNumbers {
        /// The enum's place in the state.
        place: String,
    },
    /// Time to live on another clock, or only before or only now.
    Ttl {
        /// The time when it was written.
        written: Option<Ttl>,
        /// The time that is declared.
        declared: Option<Ttl>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VariantAdded { place, variant } => write!(f, "{place}: variant `{variant}` is new"),
            Self::TtlDuration { written, declared } => {
                write!(f, "its time to live was {written}, is declared as {declared}")
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind { written: StateKind::Unknown(written), .. } => {
                write!(
                    f,
                    "a later version of Flott wrote it, and this one does not know its kind `{written}`"
                )
            }
            Self::Kind { written, declared } => {
                write!(f, "its kind was `{written}`, is declared as `{declared}`")
            }
            Self::Type { place, written, declared } => {
                write!(f, "{place}: was `{written}`, is declared as `{declared}`")
            }
            Self::FieldAdded { place, field } => write!(f, "{place}: field `{field}` is new"),
            Self::FieldRemoved { place, field } => write!(f, "{place}: field `{field}` is gone"),
            Self::FieldsReordered { place } => write!(f, "{place}: the fields are in another order"),
            Self::Variant { place, number, written, declared } => {
                write!(f, "{place}: variant {number} was `{written}`, is declared as `{declared}`")
            }
            Self::VariantRemoved { place, variant } => write!(f, "{place}: variant `{variant}` is gone"),
            Self::VariantNumbers { place } => {
                write!(f, "{place}: more than {SMALL_ENUM_VARIANTS_MAX} variants are numbered in another way")
            }
            Self::Ttl { written, declared } => {
                let text = |ttl: &Option<Ttl>| ttl.map_or("without end".into(), |ttl| ttl.to_string());
                write!(f, "its time to live was {}, is declared as {}", text(written), text(declared))
            }
        }
    }
}

/// Judges state that was written under one declaration against another one of the same name.
#[must_use]
pub fn verdict(written: &StateDeclaration, declared: &StateDeclaration) -> Verdict {
    let mut comparison = Comparison::default();
    if written.kind == declared.kind {
        comparison.optional("key", written.key.as_ref(), declared.key.as_ref());
        comparison.schemas("value", &written.schema, &declared.schema);
        let (written, declared) = (&written.options, &declared.options);
        comparison.optional("namespace", written.namespace.as_ref(), declared.namespace.as_ref());
        comparison.ttl(written.ttl, declared.ttl);
    } else {
        let (written, declared) = (written.kind.clone(), declared.kind.clone());
        comparison.differences.push(Difference::Kind { written, declared });
    }
    comparison.verdict()
}

/// Judges state of which only the schema of its entries was written, see [`StateDeclaration::entry_schema`].
#[must_use]
pub fn verdict_of_entries(written: &Schema, declared: &StateDeclaration) -> Verdict {
    let mut comparison = Comparison::default();
    comparison.optional("entry", Some(written), declared.entry_schema().as_ref());
    comparison.verdict()
}

/// The error for state that cannot go on.
#[must_use]
pub fn refusal(state: &str, differences: &[Difference]) -> Error {
    let message =
        format!("state {state:?} cannot go on from the checkpoint: {}; {WAY_OUT}", listed(differences));
    Error::new(ErrorKind::State, message)
}

/// Changes or differences as one text.
#[must_use]
pub fn listed(items: &[impl fmt::Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A comparison under way.
#[derive(Default)]
struct Comparison {
    changes: Vec<Change>,
    differences: Vec<Difference>,
}

impl Comparison {
    fn verdict(self) -> Verdict {
        if !self.differences.is_empty() {
            Verdict::Refused(self.differences)
        } else if !self.changes.is_empty() {
            Verdict::Migrates(self.changes)
        } else {
            Verdict::Same
        }
    }

    fn ttl(&mut self, written: Option<Ttl>, declared: Option<Ttl>) {
        match (written, declared) {
            (written, declared) if written == declared => {}
            (Some(written), Some(declared)) if written.time == declared.time => {
                self.changes.push(Change::TtlDuration { written, declared });
            }
            _ => self.differences.push(Difference::Ttl { written, declared }),
        }
    }

    fn optional(&mut self, place: &str, written: Option<&Schema>, declared: Option<&Schema>) {
        match (written, declared) {
            (Some(written), Some(declared)) => self.schemas(place, written, declared),
            (None, None) => {}
            _ => self.types(place, described_or_none(written), described_or_none(declared)),
        }
    }

    fn types(&mut self, place: &str, written: String, declared: String) {
        self.differences.push(Difference::Type { place: place.into(), written, declared });
    }

    fn schemas(&mut self, place: &str, written: &Schema, declared: &Schema) {
        match (written, declared) {
            (Schema::Struct(_, written), Schema::Struct(_, declared)) => {
                self.fields(place, written, declared)
            }
            (Schema::Enum(_, written), Schema::Enum(_, declared)) => self.variants(place, written, declared),
            (Schema::Optional(written), Schema::Optional(declared)) => self.schemas(place, written, declared),
            (Schema::List(written), Schema::List(declared)) => {
                self.schemas(&format!("{place}[]"), written, declared);
            }
            (Schema::Map(key, value), Schema::Map(declared_key, declared_value)) => {
                self.schemas(&format!("{place}, map key"), key, declared_key);
                self.schemas(&format!("{place}, map value"), value, declared_value);
            }
            (Schema::Primitive(_), Schema::Primitive(_))
            | (Schema::Foreign { .. }, Schema::Foreign { .. })
                if written == declared => {}
            _ => self.types(place, described(written), described(declared)),
        }
    }

    fn fields(&mut self, place: &str, written: &[(String, Schema)], declared: &[(String, Schema)]) {
        let name = |(name, _): &(String, Schema)| name.clone();
        if written.iter().map(name).eq(declared.iter().map(name)) {
            for ((field, schema), (_, schema_now)) in written.iter().zip(declared) {
                self.schemas(&format!("{place}.{field}"), schema, schema_now);
            }
            return;
        }
        let mut is_reordered = true;
        for (field, schema) in written {
            if let Some((_, schema_now)) = declared.iter().find(|(name, _)| name == field) {
                self.schemas(&format!("{place}.{field}"), schema, schema_now);
            } else {
                is_reordered = false;
                self.differences.push(Difference::FieldRemoved { place: place.into(), field: field.clone() });
            }
        }
        for (field, _) in declared.iter().filter(|(name, _)| written.iter().all(|(field, _)| field != name)) {
            is_reordered = false;
            self.differences.push(Difference::FieldAdded { place: place.into(), field: field.clone() });
        }
        if is_reordered {
            self.differences.push(Difference::FieldsReordered { place: place.into() });
        }
    }

    fn variants(&mut self, place: &str, written: &[(String, Schema)], declared: &[(String, Schema)]) {
        for (number, ((name, schema), (name_now, schema_now))) in written.iter().zip(declared).enumerate() {
            if name == name_now {
                self.schemas(&format!("{place}.{name}"), schema, schema_now);
            } else {
                let (place, written, declared) = (place.into(), name.clone(), name_now.clone());
                self.differences.push(Difference::Variant { place, number, written, declared });
            }
        }
        for (variant, _) in written.iter().skip(declared.len()) {
            let (place, variant) = (place.into(), variant.clone());
            self.differences.push(Difference::VariantRemoved { place, variant });
        }
        for (variant, _) in declared.iter().skip(written.len()) {
            let (place, variant) = (place.into(), variant.clone());
            self.changes.push(Change::VariantAdded { place, variant });
        }
        let is_small = |variants: &[_]| variants.len() <= SMALL_ENUM_VARIANTS_MAX;
        if is_small(written) != is_small(declared) {
            self.differences.push(Difference::VariantNumbers { place: place.into() });
        }
    }
}

fn described_or_none(schema: Option<&Schema>) -> String {
    schema.map_or("nothing".into(), described)
}

/// A type as a person would write it, but for the inside of structs and enums that have a name.
fn described(schema: &Schema) -> String {
    let names = |parts: &[(String, Schema)]| {
        parts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    };
    match schema {
        Schema::Primitive(name) => name.clone(),
        Schema::Struct(name, fields) if name.is_empty() => format!("({})", names(fields)),
        Schema::Struct(name, _) => name.clone(),
        Schema::Enum(name, _) => format!("enum {name}"),
        Schema::Optional(inner) => format!("Option<{}>", described(inner)),
        Schema::List(inner) => format!("Vec<{}>", described(inner)),
        Schema::Map(key, value) => format!("BTreeMap<{}, {}>", described(key), described(value)),
        Schema::Foreign { name, version } => format!("{name}, version {version}"),
        Schema::Invalid(why) => format!("a type without a schema ({why})"),
    }
}

#[cfg(test)]
#[path = "compatibility_tests.rs"]
mod tests;
