use std::{any::TypeId, cell::RefCell};

use serde::{Deserialize, Serialize};

use super::foreign_name;
use crate::hash;

/// Maximum nesting of a type: structs, variants with fields, `Option`s, `Vec`s and maps within each other. Snapshot files
/// hold the schema as JSON, of which this much can be read back.
pub const SCHEMA_DEPTH_MAX: usize = 30;

/// Structure of an encoded type. Stored in every snapshot, compared at restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    /// A built-in type, by its Rust name.
    Primitive(String),
    /// A struct or tuple: fields in encoding order.
    Struct(String, Vec<(String, Schema)>),
    /// An enum: variants by their number.
    Enum(String, Vec<(String, Schema)>),
    /// `Option`.
    Optional(Box<Schema>),
    /// `Vec`.
    List(Box<Schema>),
    /// `BTreeMap`.
    Map(Box<Schema>, Box<Schema>),
    /// A foreign type behind serde.
    Foreign {
        /// Its Rust name without the paths of modules, so that it does not matter how the source writes it.
        name: String,
        /// `#[record(serde, version = …)]`; 1 if nothing is said.
        version: u32,
    },
    /// A type that cannot be described, and why: no job may declare it.
    Invalid(String),
}

thread_local! {
    /// The types whose schemas are being made, outermost first.
    static OPEN: RefCell<Vec<(TypeId, String)>> = const { RefCell::new(Vec::new()) };
}

/// Takes the innermost type off [`OPEN`], also if its schema panics.
struct Closing;

impl Drop for Closing {
    fn drop(&mut self) {
        OPEN.with_borrow_mut(Vec::pop);
    }
}

impl Schema {
    /// The schema of a built-in type.
    #[must_use]
    pub fn primitive(name: &str) -> Self {
        Self::Primitive(name.into())
    }

    /// The schema of `T`, which `describe` makes from those of its fields; [`Self::Invalid`] when `T` contains itself,
    /// whatever types lie between.
    #[must_use]
    pub fn of<T: 'static>(describe: impl FnOnce() -> Self) -> Self {
        let id = TypeId::of::<T>();
        let circle = OPEN.with_borrow_mut(|open| {
            let first = open.iter().position(|(outer, _)| *outer == id);
            let circle =
                first.map(|first| open[first..].iter().map(|(_, name)| format!("`{name}`")).collect());
            if circle.is_none() {
                open.push((id, foreign_name::<T>()));
            }
            circle
        });
        if let Some::<Vec<String>>(names) = circle {
            let circle = names.join(", which contains ");
            return Self::Invalid(format!(
                "a record cannot contain itself: {circle}, which contains {} again. Keep the inner records in state of \
                 their own, or the whole behind `#[record(serde)]`",
                names[0]
            ));
        }
        let _closing = Closing;
        describe()
    }

    /// A number that differs, with overwhelming probability, where two schemas differ. Names of types do not count,
    /// names and order of fields do, and so do names and versions of foreign types.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut text = String::new();
        self.write_canonical(&mut text);
        hash::bytes(text.as_bytes())
    }

    /// Returns `true` if values of foreign types are in it.
    #[must_use]
    pub fn has_foreign(&self) -> bool {
        matches!(self, Self::Foreign { .. }) || self.parts().iter().any(|part| part.has_foreign())
    }

    /// Makes sure that state of this schema can be written and read.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub fn check(&self) -> Result<(), String> {
        self.check_parts()?;
        let depth = self.depth();
        if depth <= SCHEMA_DEPTH_MAX {
            return Ok(());
        }
        Err(format!(
            "its type nests {depth} levels deep, and a checkpoint describes at most {SCHEMA_DEPTH_MAX}; make it flatter, \
             or put an inner type behind `#[record(serde)]`"
        ))
    }

    fn check_parts(&self) -> Result<(), String> {
        match self {
            Self::Invalid(why) => Err(why.clone()),
            _ => self.parts().into_iter().try_for_each(Self::check_parts),
        }
    }

    fn depth(&self) -> usize {
        let parts = self.parts();
        parts.into_iter().map(|part| part.depth() + 1).max().unwrap_or(0)
    }

    fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Primitive(_) | Self::Foreign { .. } | Self::Invalid(_) => Vec::new(),
            Self::Struct(_, parts) | Self::Enum(_, parts) => parts.iter().map(|(_, part)| part).collect(),
            Self::Optional(part) | Self::List(part) => vec![part],
            Self::Map(key, value) => vec![key, value],
        }
    }

    fn write_canonical(&self, out: &mut String) {
        let list = |out: &mut String, open: &str, fields: &[(String, Schema)]| {
            out.push_str(open);
            for (name, schema) in fields {
                out.push_str(name);
                out.push(':');
                schema.write_canonical(out);
                out.push(',');
            }
            out.push('}');
        };
        match self {
            Self::Primitive(name) => out.push_str(name),
            Self::Struct(_, fields) => list(out, "struct{", fields),
            Self::Enum(_, variants) => list(out, "enum{", variants),
            Self::Optional(inner) => {
                out.push('?');
                inner.write_canonical(out);
            }
            Self::List(inner) => {
                out.push('*');
                inner.write_canonical(out);
            }
            Self::Map(key, value) => {
                out.push('%');
                key.write_canonical(out);
                out.push('=');
                value.write_canonical(out);
            }
            Self::Foreign { name, version } => {
                out.push('&');
                out.push_str(name);
                out.push('@');
                out.push_str(&version.to_string());
            }
            Self::Invalid(why) => {
                out.push('!');
                out.push_str(why);
            }
        }
    }
}
