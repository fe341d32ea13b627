//! One subtask's part of a checkpoint, as operators hand it over and get it back.

use std::collections::BTreeMap;

use crate::{
    error::{Error, ErrorKind, Result},
    key_group::KeyGroup,
    record::Schema,
};

/// Receives the encoded content of a keyed state, one key group at a time, groups ascending.
pub trait KeyedSnapshotSink {
    /// Takes the encoding of one key group's entries; may be called only once per group. `entries` is their number.
    ///
    /// # Errors
    /// When the bytes cannot be stored.
    fn key_group(&mut self, group: KeyGroup, entries: u64, bytes: &[u8]) -> Result<()>;
}

/// Writes one keyed state. Runs on a background thread, on a frozen copy.
pub type WriteKeyed = Box<dyn FnOnce(&mut dyn KeyedSnapshotSink) -> Result<()> + Send>;

/// Produces the items of a list state. Runs on a background thread; may block on an external system.
pub type WriteList = Box<dyn FnOnce() -> Result<Vec<Vec<u8>>> + Send>;

/// What one named state contributes.
pub enum StateContent {
    /// Keyed state: written to a snapshot file, redistributed by key group.
    Keyed(WriteKeyed),
    /// A short list of opaque items (source splits, committables): stored in the checkpoint's manifest.
    List(WriteList),
}

/// The synchronous part of one state's snapshot: cheap to make, written later.
pub struct StateSnapshot {
    /// The state's name, unique within its operator.
    pub name: String,
    /// What its entries look like.
    pub schema: Schema,
    /// How to get its content.
    pub content: StateContent,
}

/// The snapshot of one operator of a subtask.
#[derive(Default)]
pub struct OperatorSnapshot {
    /// Its states.
    pub states: Vec<StateSnapshot>,
}

/// One keyed state as found in a checkpoint: the key groups that this subtask owns.
#[derive(Debug, Default)]
pub struct RestoredKeyed {
    /// The schema it was written with.
    pub schema: Option<Schema>,
    /// Encoded entries per key group, in any order.
    pub groups: Vec<(KeyGroup, Vec<u8>)>,
}

/// Everything a checkpoint has for one operator of one subtask.
#[derive(Debug, Default)]
pub struct RestoredOperator {
    /// Keyed states by name.
    pub keyed: BTreeMap<String, RestoredKeyed>,
}

impl RestoredOperator {
    /// Takes a keyed state out, after comparing its schema with today's.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when the schema differs; says how.
    pub fn take_keyed(&mut self, name: &str, schema: &Schema) -> Result<RestoredKeyed> {
        let restored = self.keyed.remove(name).unwrap_or_default();
        match &restored.schema {
            Some(written) if written.fingerprint() != schema.fingerprint() => Err(Error::new(
                ErrorKind::State,
                format!(
                    "state {name:?} was written as {written:?} but this binary declares {schema:?}; \
                     run the binary that wrote the checkpoint, or start from an empty checkpoint directory"
                ),
            )),
            _ => Ok(restored),
        }
    }
}
