use serde::{Deserialize, Serialize};

/// Why a checkpoint is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CheckpointKind {
    /// Because its time has come.
    Periodic,
    /// To suspend the job: sources stop at its barrier, for good. When it fails, the next one is of this kind again; the
    /// attempt never goes on without one. A later JobManager goes on from it.
    Stop,
    /// After every task has processed its last record: commits the last output of a bounded job. A JobManager that
    /// restores it has nothing left to run.
    Final,
}

impl CheckpointKind {
    /// Whether this is the last checkpoint of a bounded job.
    #[must_use]
    pub fn is_final(self) -> bool {
        self == Self::Final
    }

    /// Whether nothing follows this checkpoint in its attempt.
    #[must_use]
    pub fn ends_attempt(self) -> bool {
        self != Self::Periodic
    }
}
