//! The snapshot of one task as it has been written: its part of a manifest.

use flott_core::{OperatorUid, operator::Counters};
use serde::{Deserialize, Serialize};

use super::KeyedFile;

/// One task's part of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenSnapshot {
    /// In chain order.
    pub operators: Vec<WrittenOperator>,
}

/// One operator's part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenOperator {
    /// The operator.
    pub uid: OperatorUid,
    /// The task's snapshot file, if it has keyed state of this operator.
    pub file: Option<KeyedFile>,
    /// Its list states.
    pub lists: Vec<WrittenList>,
    /// Its counts in this attempt, up to the barrier.
    pub counters: Counters,
}

/// A list state, as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenList {
    /// The state's name.
    pub name: String,
    /// Its items.
    pub items: Vec<Vec<u8>>,
}
