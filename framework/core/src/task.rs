//! Words that JobManager, TaskManagers and tasks share: the id of a task, facts about it, actions for it, and a failure as
//! plain data.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, ErrorKind},
    id::{CheckpointId, SubtaskIndex, VertexId},
    source::Split,
};

/// One parallel copy of one vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The vertex.
    pub vertex: VertexId,
    /// Which copy of it.
    pub subtask: SubtaskIndex,
}

impl TaskId {
    /// Copy `subtask` of `vertex`.
    #[must_use]
    pub const fn new(vertex: VertexId, subtask: SubtaskIndex) -> Self {
        Self { vertex, subtask }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vertex, self.subtask)
    }
}

/// Something that has happened to one task. The JobManager learns it as the value that the task has reported, but for the
/// snapshot `S`: it is frozen when it leaves the task, and written when the TaskManager sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskFact<S> {
    /// The task is restored and runs.
    Running,
    /// The task has processed its last record. It stays, for the final checkpoint.
    Ended,
    /// The task has taken its part of a checkpoint.
    Snapshot {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The part.
        snapshot: S,
    },
    /// The task cannot take its part of a checkpoint.
    Declined {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The reason.
        reason: String,
    },
    /// Every sink of the task that commits has committed everything up to this checkpoint.
    Committed {
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// The task cannot go on.
    Failed {
        /// The reason.
        failure: Failure,
    },
}

impl<S> TaskFact<S> {
    /// Takes the snapshot out.
    ///
    /// # Errors
    /// The fact, if it is another one.
    pub fn into_snapshot<T>(self) -> Result<(CheckpointId, S), TaskFact<T>> {
        Err(match self {
            Self::Snapshot { checkpoint, snapshot } => return Ok((checkpoint, snapshot)),
            Self::Running => TaskFact::Running,
            Self::Ended => TaskFact::Ended,
            Self::Declined { checkpoint, reason } => TaskFact::Declined { checkpoint, reason },
            Self::Committed { checkpoint } => TaskFact::Committed { checkpoint },
            Self::Failed { failure } => TaskFact::Failed { failure },
        })
    }
}

/// A request to one task. It reaches the task as the value that the JobManager or the TaskManager has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskAction {
    /// The task's source reads these splits as well. An empty list says that there are none for it now.
    AddSplits(Vec<Split>),
    /// The task's source gets no more splits.
    NoMoreSplits,
    /// The task's source injects the barrier of this checkpoint. Only tasks with a source get it: the others wait for
    /// barriers.
    TriggerCheckpoint {
        /// The new checkpoint.
        checkpoint: CheckpointId,
        /// No checkpoint of this attempt follows it: the source reads no further, since the records would be thrown away.
        is_last: bool,
    },
    /// This checkpoint is complete: sinks commit.
    CompleteCheckpoint(CheckpointId),
}

/// Why something ended: an error as plain data, which can be compared, sent and kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind, which decides whether the job is restarted.
    pub kind: ErrorKind,
    /// The failure, its cause and the remedy, for people.
    pub message: String,
    /// The position in a source of the records that were processed then, if it is known.
    pub position: Option<String>,
}

impl Failure {
    /// A failure of `kind`.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), position: None }
    }

    /// Returns `true` if a restart of the job can help.
    #[must_use]
    pub fn is_restartable(&self) -> bool {
        self.kind.is_restartable()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.position.iter().try_for_each(|position| write!(f, " (while it processed {position})"))
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { position: error.position().map(str::to_owned), ..Self::new(error.kind(), error.to_string()) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        Self::new(failure.kind, message)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::de::DeserializeOwned;

    use super::*;

    const SEVEN: CheckpointId = CheckpointId(7);

    fn facts() -> [TaskFact<u32>; 6] {
        let position = Some("topic payments, partition 3".into());
        let failure = Failure { position, ..Failure::new(ErrorKind::User, "division by zero") };
        [
            TaskFact::Running,
            TaskFact::Ended,
            TaskFact::Snapshot { checkpoint: SEVEN, snapshot: 42 },
            TaskFact::Declined { checkpoint: SEVEN, reason: "no".into() },
            TaskFact::Committed { checkpoint: SEVEN },
            TaskFact::Failed { failure },
        ]
    }

    fn check_round_trip<T: Serialize + DeserializeOwned + Debug + PartialEq>(value: &T) {
        let bytes = postcard::to_stdvec(value).unwrap();
        assert_eq!(postcard::from_bytes::<T>(&bytes).unwrap(), *value);
    }

    #[test]
    fn facts_and_actions_are_read_as_they_were_written() {
        facts().iter().for_each(check_round_trip);
        let split = Split { id: "payments-3".into(), state: vec![0, 255] };
        let actions = [
            TaskAction::AddSplits(vec![split]),
            TaskAction::NoMoreSplits,
            TaskAction::TriggerCheckpoint { checkpoint: SEVEN, is_last: true },
            TaskAction::CompleteCheckpoint(SEVEN),
        ];
        actions.iter().for_each(check_round_trip);
    }

    #[test]
    fn only_the_snapshot_is_taken_out_of_a_fact() {
        for (fact, before) in facts().into_iter().zip(facts()) {
            match fact.into_snapshot() {
                Ok(taken) => assert_eq!(taken, (SEVEN, 42)),
                Err(other) => assert_eq!(other, before),
            }
        }
    }
}
