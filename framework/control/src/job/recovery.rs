use flott_core::{AttemptId, CheckpointId, MonotonicTime};

use super::{JobStatus, settlement::Settlement};

/// What has to happen between two attempts.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) settlement: Settlement,
    pub(super) raise: Raise,
    /// The attempt before, of this JobManager.
    pub(super) previous: Option<AttemptId>,
    /// The end of the restart delay, none when it has passed.
    pub(super) restart_at: Option<MonotonicTime>,
    /// Until then the tasks of the previous attempt may report their end; none when it has passed.
    pub(super) grace_until: Option<MonotonicTime>,
    /// Since when there are too few slots.
    pub(super) lacking_since: Option<MonotonicTime>,
    pub(super) restore: Option<CheckpointId>,
}

/// The generation of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raise {
    /// Nobody has asked for a higher one. It is needed unless the previous attempt is confirmed to have ended.
    Undecided,
    /// The driver is at it.
    Running,
    /// It failed and is repeated at this time.
    RetryAt(MonotonicTime),
    /// No older task knows the current generation.
    Raised,
}

impl Recovery {
    pub(super) fn forget_passed(&mut self, now: MonotonicTime) {
        self.restart_at = self.restart_at.filter(|&at| at > now);
        self.grace_until = self.grace_until.filter(|&at| at > now);
    }

    pub(super) fn status(&self) -> JobStatus {
        if !self.settlement.is_done() {
            JobStatus::Settling
        } else if self.restart_at.is_some() {
            JobStatus::Restarting
        } else {
            JobStatus::WaitingForSlots
        }
    }

    pub(super) fn next_deadline(&self) -> Option<MonotonicTime> {
        let raise = match self.raise {
            Raise::RetryAt(at) => Some(at),
            Raise::Undecided | Raise::Running | Raise::Raised => None,
        };
        [raise, self.settlement.next_deadline(), self.restart_at, self.grace_until]
            .into_iter()
            .flatten()
            .min()
    }
}
