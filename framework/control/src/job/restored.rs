use std::collections::BTreeMap;

use flott_core::{CheckpointId, Generation, VertexId};

use crate::splits::RestoredSource;

/// What earlier JobManagers left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The completed checkpoints in the storage.
    pub completed: Vec<CheckpointId>,
    /// The highest id of a completed checkpoint, whether or not it is kept; zero when none.
    pub last_checkpoint_id: CheckpointId,
    /// The generation raised last; zero when none.
    pub generation: Generation,
    /// Generations in which output may be left open, with the parallelism of their sinks.
    pub unswept: Vec<(Generation, u32)>,
    /// The run repeats one that had ended, so that its output is repeated on purpose.
    pub is_repeat: bool,
}

/// The checkpoint that was settled, and from which the next attempt starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredCheckpoint {
    /// Its id.
    pub checkpoint: CheckpointId,
    /// It is the final checkpoint of a bounded job: nothing is left to run.
    pub is_final: bool,
    /// What it holds of each source.
    pub sources: BTreeMap<VertexId, RestoredSource>,
}
