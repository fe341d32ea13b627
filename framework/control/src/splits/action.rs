use flott_core::{SubtaskIndex, source::Split};

/// What a source's readers are to be told, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitAction {
    /// Read these as well.
    Assign {
        /// The reader.
        subtask: SubtaskIndex,
        /// Never empty.
        splits: Vec<Split>,
    },
    /// No further split will come.
    NoMoreSplits {
        /// The reader.
        subtask: SubtaskIndex,
    },
}
