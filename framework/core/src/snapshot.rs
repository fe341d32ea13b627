//! One subtask's part of a checkpoint, as operators hand it over and get it back.

use std::collections::BTreeMap;

use crate::{
    error::{Error, ErrorKind, Result},
    id::OperatorUid,
    key_group::KeyGroup,
    operator::Counters,
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
    /// Its counts up to the barrier. The link of the chain sets it.
    pub counters: Counters,
}

impl OperatorSnapshot {
    /// A snapshot of these states.
    #[must_use]
    pub fn new(states: Vec<StateSnapshot>) -> Self {
        Self { states, ..Self::default() }
    }
}

/// The snapshot of all operators of one task, on its way to storage.
pub struct FrozenSnapshot {
    /// In chain order.
    pub operators: Vec<(OperatorUid, OperatorSnapshot)>,
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
    /// Makes sure that every state with entries has been taken: what nobody takes would be lost with the next checkpoint.
    ///
    /// # Errors
    /// [`ErrorKind::State`]; names what is left.
    pub fn check_taken(&self) -> Result<()> {
        let left = self.keyed.iter().filter(|(_, state)| !state.groups.is_empty());
        let names: Vec<_> = left.map(|(name, _)| format!("{name:?}")).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::State,
            format!(
                "the checkpoint has entries of {}, which the operator does not declare; give the state its old name \
                 back, or give the operator a new uid, with which it starts empty",
                names.join(", ")
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_nobody_takes_are_named() {
        let mut restored = RestoredOperator::default();
        restored.keyed.insert("empty".into(), RestoredKeyed::default());
        for name in ["count", "sum"] {
            let state = RestoredKeyed { schema: None, groups: vec![(KeyGroup(7), vec![1])] };
            restored.keyed.insert(name.into(), state);
        }
        let error = restored.check_taken().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        assert!(error.to_string().contains("entries of \"count\", \"sum\", which"), "{error}");
        for name in ["count", "sum"] {
            restored.take_keyed(name, &Schema::primitive("u8")).unwrap();
        }
        restored.check_taken().unwrap();
    }
}
