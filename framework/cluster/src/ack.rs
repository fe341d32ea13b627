//! What a task acknowledges a checkpoint with.

use flott_core::{OperatorUid, operator::Counters};
use flott_state::storage::KeyedFile;
use serde::{Deserialize, Serialize};

/// One task's part of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskAck {
    pub(crate) operators: Vec<OperatorAck>,
}

/// One operator's part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OperatorAck {
    pub(crate) uid: OperatorUid,
    /// The task's snapshot file, if it has keyed state of this operator.
    pub(crate) file: Option<KeyedFile>,
    pub(crate) lists: Vec<ListAck>,
    /// Its counts in this attempt, up to the barrier.
    pub(crate) counters: Counters,
}

/// A list state, as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListAck {
    pub(crate) name: String,
    pub(crate) items: Vec<Vec<u8>>,
}
