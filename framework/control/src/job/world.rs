use std::collections::BTreeSet;

use flott_core::{
    AttemptId, CheckpointId, Generation, MonotonicTime, TaskManagerId,
    task::{Failure, TaskId},
};

use super::{
    Action, History, JobOutline, JobSettings, JobStatus, ending::EndingAttempts,
    restart_policy::RestartPolicy, run_history::RunHistory, sources::Sources, sweeps::Sweeps,
};
use crate::{
    checkpoint::{CheckpointAction, CheckpointCoordinator, CheckpointKind},
    liveness::Heartbeats,
    slots::{SlotAssignment, SlotPool},
};

/// The first generation that tasks run in: none is older.
const FIRST: Generation = Generation(1);

/// The data that outlives a state of the job.
#[derive(Debug)]
pub(super) struct World<S> {
    pub(super) settings: JobSettings,
    pub(super) outline: JobOutline,
    pub(super) slots: SlotPool,
    pub(super) checkpoints: CheckpointCoordinator<S>,
    pub(super) sources: Sources,
    pub(super) sweeps: Sweeps,
    pub(super) history: RunHistory,
    liveness: Heartbeats,
    restart: RestartPolicy,
    ending: EndingAttempts,
    last_attempt: AttemptId,
    last_assignment: Vec<SlotAssignment>,
}

/// The meaning of a coordinator's action for the state of the job.
pub(super) enum Verdict {
    /// A checkpoint of the attempt is completed.
    Completed { checkpoint: CheckpointId, kind: CheckpointKind },
    /// More checkpoints of the attempt have failed than are tolerated.
    Failed { message: String },
    /// Another JobManager leads.
    Deposed,
}

impl<S> World<S> {
    pub(super) fn new(settings: JobSettings, outline: JobOutline, history: History, seed: u64) -> Self {
        let checkpoints = CheckpointCoordinator::new(
            settings.checkpoint.clone(),
            outline.tasks(),
            history.completed,
            history.last_checkpoint_id,
        );
        Self {
            slots: SlotPool::new(),
            checkpoints,
            sources: Sources::new(&outline),
            sweeps: Sweeps::default(),
            history: RunHistory::new(history.generation, history.unswept, history.is_repeat),
            liveness: Heartbeats::new(settings.liveness.clone()),
            restart: RestartPolicy::new(&settings, seed),
            ending: EndingAttempts::default(),
            last_attempt: AttemptId(0),
            last_assignment: Vec::new(),
            settings,
            outline,
        }
    }

    /// The generation raised last.
    pub(super) fn generation(&self) -> Generation {
        self.history.generation()
    }

    pub(super) fn next_deadline(&self) -> Option<MonotonicTime> {
        let deadlines = [
            self.liveness.next_deadline(),
            self.ending.next_deadline(),
            self.checkpoints.next_deadline(),
            self.sweeps.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    pub(super) fn on_registered(
        &mut self,
        now: MonotonicTime,
        task_manager: TaskManagerId,
        slots: u32,
        out: &mut Vec<Action<S>>,
    ) {
        if self.slots.register(task_manager, slots) {
            self.liveness.on_registered(now, task_manager);
        } else {
            let reason = "its registration is not newer than every earlier one".into();
            out.push(Action::Disconnect { task_manager, reason });
        }
    }

    pub(super) fn on_heartbeat(&mut self, now: MonotonicTime, id: TaskManagerId) {
        self.liveness.on_heartbeat(now, id);
    }

    /// TaskManagers that have been silent for too long, with the reason to drop them.
    pub(super) fn silent(&mut self, now: MonotonicTime) -> Vec<(TaskManagerId, String)> {
        let timeout_ms = self.settings.liveness.heartbeat_timeout.as_millis();
        let reason = |id| (id, format!("no heartbeat for {timeout_ms} ms"));
        self.liveness.on_deadline(now).into_iter().map(reason).collect()
    }

    /// TaskManagers whose cancelled tasks have not ended in time, with the reason to drop them.
    pub(super) fn overdue(&self, now: MonotonicTime) -> Vec<(TaskManagerId, String)> {
        let timeout_ms = self.settings.cancel_timeout.as_millis();
        let reason = |id| (id, format!("cancelled tasks did not end within {timeout_ms} ms"));
        self.ending.overdue(now).into_iter().map(reason).collect()
    }

    pub(super) fn on_lost(&mut self, id: TaskManagerId) {
        self.liveness.on_gone(id);
        self.slots.lose(id);
        self.ending.on_lost(id);
    }

    /// Nothing of the attempt runs in this TaskManager any more.
    pub(super) fn on_gone(&mut self, attempt: AttemptId, id: TaskManagerId) {
        self.ending.on_gone(attempt, id);
        self.slots.release(attempt, id);
    }

    pub(super) fn on_generation_raised(&mut self, generation: Generation) {
        self.history.on_generation_raised(generation, self.outline.slots_needed());
    }

    /// Asks for the generation above the present one.
    pub(super) fn raise_generation(&self, out: &mut Vec<Action<S>>) {
        let above = self.generation();
        let mut unswept = self.history.unswept(above);
        unswept.push((above.next(), self.outline.slots_needed()));
        out.push(Action::RaiseGeneration { above, unswept });
    }

    /// Asks to read this checkpoint.
    pub(super) fn read_checkpoint(&self, checkpoint: CheckpointId, out: &mut Vec<Action<S>>) {
        out.push(Action::ReadCheckpoint { checkpoint, is_thorough: self.history.is_thorough() });
    }

    /// Asks to settle everything up to this generation.
    pub(super) fn settle(
        &self,
        checkpoint: Option<CheckpointId>,
        is_fallback: bool,
        generation: Generation,
        out: &mut Vec<Action<S>>,
    ) {
        let unswept = self.history.unswept(generation);
        let is_repeat = self.history.is_repeat() && checkpoint.is_none();
        out.push(Action::Settle { checkpoint, is_fallback, generation, unswept, is_repeat });
    }

    /// Slots for an attempt, if there are enough.
    pub(super) fn choose_slots(&self) -> Option<Vec<SlotAssignment>> {
        self.slots.choose(self.outline.slots_needed(), &self.last_assignment)
    }

    /// An attempt is sent to these slots.
    pub(super) fn begin_attempt(&mut self, assignment: &[SlotAssignment]) -> AttemptId {
        let attempt = self.last_attempt.next();
        self.last_attempt = attempt;
        self.ending.forget_ended();
        self.slots.occupy(attempt, assignment);
        self.last_assignment = assignment.to_vec();
        attempt
    }

    /// Every task of the attempt runs.
    pub(super) fn on_all_running(&mut self, now: MonotonicTime, attempt: AttemptId) {
        self.restart.on_running(now);
        self.checkpoints.on_attempt_running(now, attempt);
    }

    /// The attempt is over; tasks of it run in these TaskManagers.
    pub(super) fn end_attempt(
        &mut self,
        now: MonotonicTime,
        attempt: AttemptId,
        task_managers: BTreeSet<TaskManagerId>,
        out: &mut Vec<Action<S>>,
    ) {
        if !task_managers.is_empty() {
            let task_managers = task_managers.iter().copied().collect();
            out.push(Action::CancelTasks { attempt, task_managers });
        }
        self.ending.begin(attempt, task_managers, now + self.settings.cancel_timeout);
        self.sources.on_attempt_over();
        self.tell_coordinator(out, CheckpointCoordinator::on_attempt_over);
    }

    /// Returns `true` if tasks of attempts that are over may still run.
    pub(super) fn is_waiting_for_tasks(&self) -> bool {
        self.ending.is_waiting()
    }

    /// Returns how often the attempt has failed in this way without progress, when that is too often.
    pub(super) fn repetitions(&mut self, failure: &Failure) -> Option<u32> {
        self.restart.repetitions(failure, self.checkpoints.latest())
    }

    /// When the job is tried again after this failure, if at all.
    pub(super) fn restart_after(
        &mut self,
        now: MonotonicTime,
        failure: &mut Failure,
    ) -> Option<MonotonicTime> {
        self.restart.restart_after(now, failure, self.checkpoints.latest())
    }

    /// Returns `true` if nothing forbids to settle: neither a manifest that is being written nor a sweep.
    pub(super) fn may_settle(&self) -> bool {
        !self.checkpoints.is_storing() && !self.sweeps.is_running()
    }

    pub(super) fn sweep_if_due(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        if self.sweeps.take_due(now) && self.generation() > FIRST {
            self.sweeps.start(self.generation(), out);
        }
    }

    /// Returns `true` if tasks were left to themselves, or went on while the end of their attempt was settled.
    pub(super) fn may_have_leftovers(&self, result: JobStatus) -> bool {
        let is_deployed_once_and_done = result == JobStatus::Finished && self.last_attempt == AttemptId(1);
        let has_cancelled = self.last_attempt > AttemptId(0) && !is_deployed_once_and_done;
        self.generation() > FIRST || has_cancelled
    }

    /// The task of the running attempt has processed its last record.
    pub(super) fn on_task_ended(&mut self, now: MonotonicTime, task: TaskId, out: &mut Vec<Action<S>>) {
        self.tell_coordinator(out, |coordinator, actions| coordinator.on_task_ended(now, task, actions));
    }

    /// A last checkpoint of the running attempt is wanted.
    pub(super) fn request_stop(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        self.tell_coordinator(out, |coordinator, actions| coordinator.request_stop(now, actions));
    }

    /// Only triggers and aborts follow: they mean nothing for the state.
    fn tell_coordinator(
        &mut self,
        out: &mut Vec<Action<S>>,
        tell: impl FnOnce(&mut CheckpointCoordinator<S>, &mut Vec<CheckpointAction<S>>),
    ) {
        let mut actions = Vec::new();
        tell(&mut self.checkpoints, &mut actions);
        for action in actions {
            self.carry_out(action, out);
        }
    }

    /// Turns what the coordinator asks for into actions for the driver.
    pub(super) fn carry_out(
        &mut self,
        action: CheckpointAction<S>,
        out: &mut Vec<Action<S>>,
    ) -> Option<Verdict> {
        match action {
            CheckpointAction::Trigger { attempt, checkpoint, kind } => {
                self.sources.on_triggered(checkpoint);
                out.push(Action::TriggerCheckpoint { attempt, checkpoint, kind });
            }
            CheckpointAction::Store { attempt, checkpoint, kind, parts, append_before } => {
                let sources = self.sources.take_snapshots(checkpoint);
                out.push(Action::StoreCheckpoint {
                    attempt,
                    checkpoint,
                    kind,
                    sources,
                    parts,
                    append_before,
                });
            }
            CheckpointAction::Withdraw { checkpoint } => {
                let is_repeat = self.history.is_repeat() && self.checkpoints.latest().is_none();
                out.push(Action::WithdrawCheckpoint { checkpoint, is_repeat });
            }
            CheckpointAction::Complete { attempt, checkpoint, kind } => {
                out.push(Action::CompleteCheckpoint { attempt, checkpoint });
                return attempt.map(|_| Verdict::Completed { checkpoint, kind });
            }
            CheckpointAction::Abort { attempt, checkpoint, reason } => {
                self.sources.take_snapshots(checkpoint);
                out.push(Action::AbortCheckpoint { attempt, checkpoint, reason });
            }
            CheckpointAction::Discard { checkpoints } => out.push(Action::DiscardCheckpoints { checkpoints }),
            CheckpointAction::FailAttempt { message } => return Some(Verdict::Failed { message }),
            CheckpointAction::StepDown => return Some(Verdict::Deposed),
        }
        None
    }
}
