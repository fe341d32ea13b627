use std::{any::TypeId, fmt};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    codec::{foreign_name, read, write},
    same::is_same,
};
use crate::record::{Record, Schema};

/// Reads back the first value of each foreign type: serde promises no type that it can read what it writes.
///
/// The value is encoded, decoded and encoded again; the two encodings must be the same.
#[derive(Debug)]
pub struct ForeignCheck {
    is_needed: bool,
    seen: Vec<TypeId>,
}

impl ForeignCheck {
    /// Checks records of this schema. Costs nothing where it has no foreign type.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        Self { is_needed: schema.has_foreign(), seen: Vec::new() }
    }

    /// Begins anew: the next value of each type is checked again.
    pub fn begin(&mut self) {
        self.seen.clear();
    }

    /// Returns `true` if there is anything to check.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.is_needed
    }

    /// Checks the foreign values in a record whose types have not been checked.
    ///
    /// # Errors
    /// When one cannot be read back.
    pub fn record<T: Record>(&mut self, record: &T) -> Result<(), Unreadable> {
        if self.is_needed { record.check_foreign(self) } else { Ok(()) }
    }

    /// Checks a foreign value, unless one of its type has been checked. For [`Record::check_foreign`].
    ///
    /// # Errors
    /// When it cannot be read back.
    pub fn value<T: Serialize + DeserializeOwned + 'static>(&mut self, value: &T) -> Result<(), Unreadable> {
        let id = TypeId::of::<T>();
        if self.seen.contains(&id) {
            return Ok(());
        }
        round_trip(value).map_err(|why| Unreadable { name: foreign_name::<T>(), why })?;
        self.seen.push(id);
        Ok(())
    }
}

fn round_trip<T: Serialize + DeserializeOwned>(value: &T) -> Result<(), String> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    write(value, &mut first).map_err(|error| format!("it cannot be written: {error}"))?;
    let back: T = read(&first).map_err(|error| format!("what it writes cannot be read back: {error}"))?;
    write(&back, &mut second)
        .map_err(|error| format!("it cannot be written after it was read back: {error}"))?;
    if is_same(&first, &second) { Ok(()) } else { Err("it reads back another value than it wrote".into()) }
}

/// A foreign type that cannot be kept in state or sent between tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The type.
    pub name: String,
    /// The reason.
    pub why: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "type `{}` behind `#[record(serde)]`: {}. Correct the type's `Serialize` and `Deserialize`, or keep what it \
             holds in a type of your own with `#[derive(Record)]`",
            self.name, self.why
        )
    }
}

impl std::error::Error for Unreadable {}
