use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use flott_control::checkpoint::CheckpointKind;
use flott_core::{
    AttemptId, CheckpointId, Clock, ErrorKind, EventTime, MonotonicTime, OperatorUid, Result, ResultExt,
    operator::Counters,
    task::{TaskAction, TaskId},
};
use flott_plan::ExecutionPlan;
use flott_runtime::{
    deployment::{SubtaskMetrics, TaskHandle},
    exchange::ExchangeSession,
    slot::SlotThread,
};
use tokio::sync::{mpsc, watch};

use super::event::{Event, Prepared, send_from_thread};
use crate::rpc::message::OperatorCounters;

/// One attempt in this TaskManager, from the order to deploy until nothing of it is left.
pub(super) struct Attempt {
    id: AttemptId,
    stage: Stage,
    slots: Vec<SlotThread>,
    slots_left: usize,
    /// Snapshots that are being written: they hold producers and files.
    snapshots_left: usize,
    /// Whether nobody waits any more for the snapshots of a checkpoint. Of those since the last one that was completed.
    aborted: BTreeMap<CheckpointId, watch::Sender<bool>>,
    /// Set when it is cancelled: until then its tasks have to be gone.
    deadline: Option<MonotonicTime>,
    /// The same for who prepares it.
    cancelled: watch::Sender<bool>,
}

enum Stage {
    /// Actions wait until the tasks are there.
    Preparing {
        actions: Vec<(TaskId, TaskAction)>,
    },
    Running(Running),
    Gone,
}

struct Running {
    handles: BTreeMap<TaskId, TaskHandle>,
    metrics: Vec<SubtaskMetrics>,
    /// Closes the connections when the tasks have gone.
    _exchange: ExchangeSession,
}

impl Attempt {
    pub(super) fn new(id: AttemptId) -> Self {
        Self {
            id,
            stage: Stage::Preparing { actions: Vec::new() },
            slots: Vec::new(),
            slots_left: 0,
            snapshots_left: 0,
            aborted: BTreeMap::new(),
            deadline: None,
            cancelled: watch::Sender::new(false),
        }
    }

    /// Starts the slot threads.
    pub(super) fn start(
        &mut self,
        prepared: Prepared,
        clock: &Arc<dyn Clock>,
        events: &mpsc::Sender<Event>,
    ) -> Result<()> {
        let Prepared { tasks, exchange } = prepared;
        let running = Running { handles: tasks.handles, metrics: tasks.metrics, _exchange: exchange };
        let before = std::mem::replace(&mut self.stage, Stage::Running(running));
        if let Stage::Preparing { actions } = before {
            for (task, action) in actions {
                self.tell(task, action);
            }
        }
        for (index, (waker, tasks)) in tasks.slots {
            let (attempt, events) = (self.id, events.clone());
            let on_stopped = move || send_from_thread(&events, Event::SlotStopped { attempt });
            let slot =
                SlotThread::spawn(format!("slot-{index}"), waker, tasks, Arc::clone(clock), on_stopped);
            self.slots.push(slot.or_error(ErrorKind::Transient, "cannot start a slot's thread")?);
            self.slots_left += 1;
        }
        Ok(())
    }

    /// It could not be prepared: nothing of it was started.
    pub(super) fn give_up(&mut self) {
        self.stage = Stage::Gone;
    }

    /// Passes an action on to its task. An action that comes before the tasks waits.
    pub(super) fn tell(&mut self, task: TaskId, action: TaskAction) {
        match &mut self.stage {
            Stage::Preparing { actions } => actions.push((task, action)),
            Stage::Running(running) => {
                let is_sent = running.handles.get(&task).is_some_and(|handle| handle.send(action));
                if !is_sent {
                    tracing::debug!(attempt = self.id.0, %task, "a task takes no actions any more");
                }
            }
            Stage::Gone => {}
        }
    }

    /// Has the sources that run here inject barriers.
    pub(super) fn trigger(&mut self, plan: &ExecutionPlan, checkpoint: CheckpointId, kind: CheckpointKind) {
        let sources = self.tasks(|task| plan.source_of(plan.vertex(task.vertex)).is_some());
        for task in sources {
            self.tell(task, TaskAction::TriggerCheckpoint { checkpoint, is_last: kind.ends_attempt() });
        }
    }

    /// Tells every task that a checkpoint is complete.
    pub(super) fn complete(&mut self, checkpoint: CheckpointId) {
        // All barriers before this one's have passed.
        self.aborted = self.aborted.split_off(&checkpoint.next());
        for task in self.tasks(|_| true) {
            self.tell(task, TaskAction::CompleteCheckpoint(checkpoint));
        }
    }

    /// Ends its tasks. Does not wait.
    pub(super) fn cancel(&mut self, now: MonotonicTime, timeout: Duration) {
        if self.deadline.is_none() {
            self.deadline = Some(now + timeout);
            self.cancelled.send_replace(true);
            self.slots.iter().for_each(SlotThread::cancel);
            for aborted in self.aborted.values() {
                aborted.send_replace(true);
            }
        }
    }

    /// What becomes true when it is cancelled.
    pub(super) fn cancelled(&self) -> watch::Receiver<bool> {
        self.cancelled.subscribe()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.deadline.is_some()
    }

    /// Whether its tasks should have gone.
    pub(super) fn is_overdue(&self, now: MonotonicTime) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now) && !self.is_gone()
    }

    pub(super) fn on_slot_stopped(&mut self) {
        self.slots_left -= 1;
    }

    /// A task has frozen its part of a checkpoint. Returns what becomes true when nobody waits for it any more.
    pub(super) fn on_snapshot_begun(&mut self, checkpoint: CheckpointId) -> watch::Receiver<bool> {
        self.snapshots_left += 1;
        let is_cancelled = self.is_cancelled();
        self.aborted.entry(checkpoint).or_insert_with(|| watch::Sender::new(is_cancelled)).subscribe()
    }

    /// A checkpoint will not be completed. Its barriers may still come.
    pub(super) fn abort_checkpoint(&mut self, checkpoint: CheckpointId) {
        self.aborted.entry(checkpoint).or_default().send_replace(true);
    }

    pub(super) fn on_snapshot_ended(&mut self) {
        self.snapshots_left -= 1;
    }

    /// Whether nothing of it runs here any more.
    pub(super) fn is_gone(&self) -> bool {
        let has_begun = !matches!(self.stage, Stage::Preparing { .. });
        has_begun && self.slots_left == 0 && self.snapshots_left == 0
    }

    /// What its operators have counted here.
    pub(super) fn counters(&self) -> Vec<OperatorCounters> {
        let Stage::Running(running) = &self.stage else {
            return Vec::new();
        };
        let mut by_uid: BTreeMap<OperatorUid, OperatorCounters> = BTreeMap::new();
        for subtask in &running.metrics {
            let counted = by_uid.entry(subtask.uid.clone()).or_insert_with(|| OperatorCounters {
                uid: subtask.uid.clone(),
                counters: Counters::default(),
                watermark: EventTime::MAX.0,
            });
            let metrics = &subtask.metrics;
            counted.counters += metrics.counters();
            counted.watermark = counted.watermark.min(metrics.watermark.load(Ordering::Relaxed));
        }
        by_uid.into_values().collect()
    }

    fn tasks(&self, is_meant: impl Fn(TaskId) -> bool) -> Vec<TaskId> {
        match &self.stage {
            Stage::Running(running) => {
                running.handles.keys().copied().filter(|&task| is_meant(task)).collect()
            }
            Stage::Preparing { .. } | Stage::Gone => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aborted_checkpoint_is_unwanted_whenever_its_snapshots_come() {
        let mut attempt = Attempt::new(AttemptId(1));
        let (one, two) = (CheckpointId(1), CheckpointId(2));
        let early = attempt.on_snapshot_begun(one);
        attempt.abort_checkpoint(one);
        let late = attempt.on_snapshot_begun(one);
        let other = attempt.on_snapshot_begun(two);
        assert_eq!((*early.borrow(), *late.borrow(), *other.borrow()), (true, true, false));
    }

    #[test]
    fn a_cancelled_attempt_wants_no_snapshots() {
        let mut attempt = Attempt::new(AttemptId(1));
        let early = attempt.on_snapshot_begun(CheckpointId(1));
        attempt.cancel(MonotonicTime::ZERO, Duration::ZERO);
        let late = attempt.on_snapshot_begun(CheckpointId(2));
        assert!(*early.borrow() && *late.borrow());
    }
}
