//! One subtask's part of a checkpoint, as operators hand it over and get it back.

use std::collections::BTreeMap;

use crate::{
    error::{Error, ErrorKind, Result},
    id::OperatorUid,
    key_group::KeyGroup,
    operator::Counters,
    record::Schema,
    state::{
        StateDeclaration,
        compatibility::{self, Verdict},
    },
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
    /// Its description, which is written beside its content.
    pub declaration: StateDeclaration,
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

/// The description of a state beside its entries.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// Its declaration.
    Declared(StateDeclaration),
    /// The schema of its entries, in snapshot files of format 1.
    Entries(Schema),
}

/// One keyed state as found in a checkpoint: the key groups that this subtask owns.
#[derive(Debug, Default)]
pub struct RestoredKeyed {
    /// The description that it was written with.
    pub written: Option<Written>,
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
    /// Takes a keyed state out, if what was written can go on under this declaration. Without entries anything can.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when it cannot; says why.
    pub fn take_keyed(&mut self, declaration: &StateDeclaration) -> Result<RestoredKeyed> {
        let restored = self.keyed.remove(&declaration.name).unwrap_or_default();
        let verdict = match &restored.written {
            Some(_) if restored.groups.is_empty() => Verdict::Same,
            Some(Written::Declared(written)) => compatibility::verdict(written, declaration),
            Some(Written::Entries(written)) => compatibility::verdict_of_entries(written, declaration),
            None => Verdict::Same,
        };
        match verdict {
            Verdict::Same | Verdict::Migrates(_) => Ok(restored),
            Verdict::Refused(differences) => Err(compatibility::refusal(&declaration.name, &differences)),
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
                 back, or start from an empty checkpoint directory",
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
            let state = RestoredKeyed { written: None, groups: vec![(KeyGroup(7), vec![1])] };
            restored.keyed.insert(name.into(), state);
        }
        let error = restored.check_taken().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        assert!(error.to_string().contains("entries of \"count\", \"sum\", which"), "{error}");
        for name in ["count", "sum"] {
            restored.take_keyed(&StateDeclaration::value::<u64, u8>(name)).unwrap();
        }
        restored.check_taken().unwrap();
    }

    #[test]
    fn entries_are_taken_only_as_what_they_are() {
        let declared = StateDeclaration::value::<u64, u8>("count");
        let written = StateDeclaration::value::<u64, u16>("count");
        let take = |written, groups: &[(KeyGroup, Vec<u8>)]| {
            let mut restored = RestoredOperator::default();
            let keyed = RestoredKeyed { written: Some(written), groups: groups.to_vec() };
            restored.keyed.insert("count".into(), keyed);
            restored.take_keyed(&declared).map(drop)
        };
        let entries = || written.entry_schema().unwrap();
        let group = [(KeyGroup(7), vec![1])];
        for written in [Written::Declared(written.clone()), Written::Entries(entries())] {
            take(written.clone(), &[]).unwrap();
            let error = take(written, &group).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::State);
            let start = "state \"count\" cannot go on from the checkpoint: ";
            assert!(error.to_string().starts_with(start), "{error}");
            assert!(error.to_string().contains("value: was `u16`, is declared as `u8`; run the"), "{error}");
        }
        take(Written::Declared(declared.clone()), &group).unwrap();
        take(Written::Entries(declared.entry_schema().unwrap()), &group).unwrap();
    }
}
