use std::{collections::BTreeSet, time::Duration};

use flott_core::{AttemptId, MonotonicTime, task::TaskId};

use super::CheckpointKind;

/// What is planned for the attempt that runs.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) attempt: AttemptId,
    interval: Duration,
    periodic_at: MonotonicTime,
    /// For the last checkpoint: at once, but an interval after a failed one.
    urgent_at: MonotonicTime,
    is_stop_wanted: bool,
    is_closed: bool,
    running: BTreeSet<TaskId>,
}

impl Schedule {
    pub(super) fn new(
        now: MonotonicTime,
        attempt: AttemptId,
        interval: Duration,
        tasks: BTreeSet<TaskId>,
    ) -> Self {
        Self {
            attempt,
            interval,
            periodic_at: now + interval,
            urgent_at: now,
            is_stop_wanted: false,
            is_closed: false,
            running: tasks,
        }
    }

    /// The task has processed its last record. Returns whether that is news.
    pub(super) fn on_task_ended(&mut self, task: TaskId) -> bool {
        self.running.remove(&task)
    }

    pub(super) fn on_stop_wanted(&mut self) {
        self.is_stop_wanted = true;
    }

    pub(super) fn on_triggered(&mut self, now: MonotonicTime) {
        self.periodic_at = now + self.interval;
    }

    pub(super) fn on_failed(&mut self, now: MonotonicTime, min_pause: Duration) {
        self.urgent_at = now + self.interval;
        self.periodic_at = self.periodic_at.max(now + min_pause);
    }

    pub(super) fn on_completed(&mut self, now: MonotonicTime, min_pause: Duration, kind: CheckpointKind) {
        self.periodic_at = self.periodic_at.max(now + min_pause);
        self.is_closed |= kind.ends_attempt();
    }

    /// The kind of the next checkpoint.
    pub(super) fn kind(&self) -> CheckpointKind {
        if self.running.is_empty() {
            CheckpointKind::Final
        } else if self.is_stop_wanted {
            CheckpointKind::Stop
        } else {
            CheckpointKind::Periodic
        }
    }

    /// When the next checkpoint is due, if another one is to come.
    pub(super) fn due(&self) -> Option<MonotonicTime> {
        let at = if self.kind() == CheckpointKind::Periodic { self.periodic_at } else { self.urgent_at };
        (!self.is_closed).then_some(at)
    }
}
