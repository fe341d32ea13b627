use std::fmt;

use flott_core::{AttemptId, CheckpointId, LeaderEpoch, SubtaskIndex, VertexId};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

/// Where all checkpoints are.
pub(super) const CHECKPOINTS: &str = "checkpoints";

/// The directory of one try to take a checkpoint. No two JobManagers and no two attempts share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointLocation {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Under which JobManager it is taken.
    pub epoch: LeaderEpoch,
    /// Which attempt of the job takes it.
    pub attempt: AttemptId,
}

impl CheckpointLocation {
    /// Reads the name of a directory.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut numbers = name.strip_prefix("chk-")?.split('-').map(|number| number.parse::<u64>().ok());
        let mut next = || numbers.next().flatten();
        let location = Self {
            checkpoint: CheckpointId(next()?),
            epoch: LeaderEpoch(next()?),
            attempt: AttemptId(next()?),
        };
        (location.to_string() == name).then_some(location)
    }

    pub(super) fn directory(&self) -> Path {
        Path::from(CHECKPOINTS).join(self.to_string())
    }

    pub(super) fn manifest(&self) -> Path {
        self.directory().join("manifest.json")
    }

    pub(super) fn snapshot(&self, vertex: VertexId, subtask: SubtaskIndex) -> Path {
        self.directory().join(format!("{vertex}-{subtask}.snap"))
    }
}

impl fmt::Display for CheckpointLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chk-{:020}-{}-{}", self.checkpoint.0, self.epoch, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_round_trip_and_others_are_left_alone() {
        let location =
            CheckpointLocation { checkpoint: CheckpointId(42), epoch: LeaderEpoch(3), attempt: AttemptId(7) };
        assert_eq!(location.to_string(), "chk-00000000000000000042-3-7");
        assert_eq!(CheckpointLocation::parse(&location.to_string()), Some(location));
        for foreign in ["chk-42-3-7", "chk-00000000000000000042-3", "chk-00000000000000000042-3-7-1", "other"] {
            assert_eq!(CheckpointLocation::parse(foreign), None);
        }
        let file = location.snapshot(VertexId(1), SubtaskIndex(0));
        assert_eq!(file.as_ref(), "checkpoints/chk-00000000000000000042-3-7/1-0.snap");
    }
}
