use flott_core::{CheckpointId, MonotonicTime};

use super::{JobStatus, settlement::Settlement};

/// What has to happen between two attempts.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) settlement: Settlement,
    pub(super) raise: Raise,
    /// This JobManager has deployed no attempt yet.
    pub(super) is_first: bool,
    /// The end of the restart delay, none when it has passed.
    pub(super) restart_at: Option<MonotonicTime>,
    /// Since when there are too few slots.
    pub(super) lacking_since: Option<MonotonicTime>,
    pub(super) restore: Option<CheckpointId>,
}

/// The generation of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raise {
    /// To be asked for at once.
    Due,
    /// The driver is at it.
    Running,
    /// It failed and is repeated at this time.
    RetryAt(MonotonicTime),
    /// No older task knows the current generation.
    Raised,
}

impl Raise {
    pub(super) fn is_due(self, now: MonotonicTime) -> bool {
        match self {
            Self::Due => true,
            Self::RetryAt(at) => at <= now,
            Self::Running | Self::Raised => false,
        }
    }
}

impl Recovery {
    pub(super) fn forget_passed(&mut self, now: MonotonicTime) {
        self.restart_at = self.restart_at.filter(|&at| at > now);
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
            Raise::Due | Raise::Running | Raise::Raised => None,
        };
        [raise, self.settlement.next_deadline(), self.restart_at].into_iter().flatten().min()
    }
}
