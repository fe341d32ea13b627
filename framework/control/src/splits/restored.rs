use flott_core::source::Split;

use super::EnumeratorSnapshot;

/// One source as a checkpoint holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoredSource {
    /// What the enumerator knew.
    pub enumerator: EnumeratorSnapshot,
    /// The splits with their progress, out of the snapshots of all readers.
    pub splits: Vec<Split>,
}
