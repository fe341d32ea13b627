use std::collections::BTreeMap;

use flott_core::{AttemptId, MonotonicTime};

use super::{AckRefusal, CheckpointKind, Part};
use crate::TaskId;

/// A checkpoint that was triggered and is not completed.
#[derive(Debug)]
pub(super) struct Pending<S> {
    pub(super) attempt: AttemptId,
    pub(super) kind: CheckpointKind,
    stage: Stage<S>,
}

#[derive(Debug)]
enum Stage<S> {
    /// Acknowledgements come in.
    Collecting { snapshots: BTreeMap<TaskId, S>, deadline: MonotonicTime },
    /// The driver writes the manifest.
    Storing,
}

impl<S> Pending<S> {
    pub(super) fn new(attempt: AttemptId, kind: CheckpointKind, deadline: MonotonicTime) -> Self {
        Self { attempt, kind, stage: Stage::Collecting { snapshots: BTreeMap::new(), deadline } }
    }

    pub(super) fn is_storing(&self) -> bool {
        matches!(self.stage, Stage::Storing)
    }

    pub(super) fn deadline(&self) -> Option<MonotonicTime> {
        match self.stage {
            Stage::Collecting { deadline, .. } => Some(deadline),
            Stage::Storing => None,
        }
    }

    /// Takes one acknowledgement. Returns the parts when it was the last of `tasks`.
    pub(super) fn on_ack(
        &mut self,
        task: TaskId,
        snapshot: S,
        tasks: usize,
    ) -> Result<Option<Vec<Part<S>>>, AckRefusal> {
        let Stage::Collecting { snapshots, .. } = &mut self.stage else {
            return Err(AckRefusal::NotCollecting);
        };
        if snapshots.contains_key(&task) {
            return Err(AckRefusal::Duplicate);
        }
        snapshots.insert(task, snapshot);
        if snapshots.len() < tasks {
            return Ok(None);
        }
        let snapshots = std::mem::take(snapshots);
        self.stage = Stage::Storing;
        Ok(Some(snapshots.into_iter().map(|(task, snapshot)| Part { task, snapshot }).collect()))
    }
}
