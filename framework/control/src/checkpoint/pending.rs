use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use flott_core::{AttemptId, MonotonicTime, task::TaskId};

use super::{AckRefusal, CheckpointKind, Part};

/// A checkpoint that was triggered and is not completed.
#[derive(Debug)]
pub(super) struct Pending<S> {
    pub(super) attempt: AttemptId,
    pub(super) kind: CheckpointKind,
    append_before: MonotonicTime,
    /// Time that the clock has missed since the trigger.
    missed: Duration,
    stage: Stage<S>,
}

#[derive(Debug)]
enum Stage<S> {
    /// Acknowledgements come in.
    Collecting { snapshots: BTreeMap<TaskId, S> },
    /// The driver writes the manifest and then appends to the journal.
    Storing,
    /// It was stored too late: the driver takes it out of the journal again, or does so at this time after a failure.
    Withdrawing { retry_at: Option<MonotonicTime> },
}

impl<S> Pending<S> {
    pub(super) fn new(attempt: AttemptId, kind: CheckpointKind, append_before: MonotonicTime) -> Self {
        Self {
            attempt,
            kind,
            append_before,
            missed: Duration::ZERO,
            stage: Stage::Collecting { snapshots: BTreeMap::new() },
        }
    }

    /// It must not be appended to the journal later than this.
    pub(super) fn append_before(&self) -> MonotonicTime {
        self.append_before - self.missed
    }

    /// The time to append it ended more than `lateness_max` before `now`.
    pub(super) fn is_too_late(&self, now: MonotonicTime, lateness_max: Duration) -> bool {
        now + self.missed > self.append_before + lateness_max
    }

    pub(super) fn on_time_missed(&mut self, missed: Duration) {
        self.missed += missed;
    }

    pub(super) fn is_storing(&self) -> bool {
        matches!(self.stage, Stage::Storing)
    }

    pub(super) fn is_withdrawing(&self) -> bool {
        matches!(self.stage, Stage::Withdrawing { .. })
    }

    /// Returns `true` if the driver is at work on it: only its answer tells whether the checkpoint counts.
    pub(super) fn is_undecided(&self) -> bool {
        self.is_storing() || self.is_withdrawing()
    }

    pub(super) fn withdraw(&mut self) {
        self.stage = Stage::Withdrawing { retry_at: None };
    }

    /// It could not be withdrawn, and that is repeated at this time.
    pub(super) fn withdraw_at(&mut self, at: MonotonicTime) {
        self.stage = Stage::Withdrawing { retry_at: Some(at) };
    }

    /// When it has to be withdrawn again.
    pub(super) fn withdrawal_due(&self) -> Option<MonotonicTime> {
        match self.stage {
            Stage::Withdrawing { retry_at } => retry_at,
            Stage::Collecting { .. } | Stage::Storing => None,
        }
    }

    /// The time at which it fails unless all have acknowledged it. None while it is stored or withdrawn: that is up to the driver.
    pub(super) fn deadline(&self) -> Option<MonotonicTime> {
        matches!(self.stage, Stage::Collecting { .. }).then(|| self.append_before())
    }

    /// The `tasks` that have not acknowledged it.
    pub(super) fn missing<'a>(&self, tasks: &'a BTreeSet<TaskId>) -> Vec<&'a TaskId> {
        match &self.stage {
            Stage::Collecting { snapshots } => {
                tasks.iter().filter(|task| !snapshots.contains_key(task)).collect()
            }
            Stage::Storing | Stage::Withdrawing { .. } => Vec::new(),
        }
    }

    /// Takes one acknowledgement. Returns the parts when it was the last of `tasks`.
    pub(super) fn on_ack(
        &mut self,
        task: TaskId,
        snapshot: S,
        tasks: usize,
    ) -> Result<Option<Vec<Part<S>>>, AckRefusal> {
        let Stage::Collecting { snapshots } = &mut self.stage else {
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
