use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What the enumerator of one source puts in a checkpoint. Splits in progress are in the snapshots of their readers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnumeratorSnapshot {
    /// Every split that was ever assigned. One that no reader's snapshot holds has been read to its end.
    pub known: BTreeSet<String>,
    /// Discovery has ended: there will be no further split.
    pub is_complete: bool,
}
