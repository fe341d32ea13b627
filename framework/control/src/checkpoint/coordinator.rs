use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use flott_core::{AttemptId, CheckpointId, MonotonicTime, TransactionBudget, task::TaskId};

use super::{
    AckRefusal, CheckpointAction, CheckpointSettings, CompletedCheckpoints, StoreFailure, pending::Pending,
    schedule::Schedule,
};

/// Tasks that the failure of a checkpoint names at most.
const TASKS_NAMED_MAX: usize = 5;

/// Pause before a checkpoint is withdrawn again.
const WITHDRAWAL_DELAY: Duration = Duration::from_millis(500);

/// Decides when to trigger a checkpoint, what is complete and what is kept. `S` is what a task acknowledges with.
#[derive(Debug)]
pub struct CheckpointCoordinator<S> {
    settings: CheckpointSettings,
    /// Maximum duration of a checkpoint, from its trigger to the append to the journal.
    timeout: Duration,
    /// The time of the transactions of sinks, if there are any.
    budget: Option<TransactionBudget>,
    tasks: BTreeSet<TaskId>,
    last_id: CheckpointId,
    completed: CompletedCheckpoints,
    pending: BTreeMap<CheckpointId, Pending<S>>,
    failures_in_a_row: u32,
    running: Option<Schedule>,
}

impl<S> CheckpointCoordinator<S> {
    /// `tasks`: all tasks of the job. `completed`: the checkpoints that the storage holds. `last_id`: the highest id
    /// that any attempt is known to have used.
    #[must_use]
    pub fn new(
        settings: CheckpointSettings,
        tasks: BTreeSet<TaskId>,
        completed: impl IntoIterator<Item = CheckpointId>,
        last_id: CheckpointId,
    ) -> Self {
        let completed = CompletedCheckpoints::new(settings.retained, completed);
        let last_id = completed.latest().map_or(last_id, |latest| latest.max(last_id));
        let pending = BTreeMap::new();
        let timeout = settings.timeout;
        Self {
            settings,
            timeout,
            budget: None,
            tasks,
            last_id,
            completed,
            pending,
            failures_in_a_row: 0,
            running: None,
        }
    }

    /// Limits the timeout: output of sinks is lost if it is not committed within `transaction_timeout`, see [`TransactionBudget`].
    pub fn limit_timeout(&mut self, transaction_timeout: Option<Duration>) {
        let between = self.settings.interval + self.settings.min_pause;
        self.budget = transaction_timeout.map(TransactionBudget::new);
        let limit = self.budget.map(|budget| budget.checkpoint_limit(between));
        self.timeout = limit.map_or(self.settings.timeout, |limit| limit.min(self.settings.timeout));
    }

    /// Every task of `attempt` runs: checkpoints begin.
    pub fn on_attempt_running(&mut self, now: MonotonicTime, attempt: AttemptId) {
        self.failures_in_a_row = 0;
        let interval = self.settings.interval;
        self.running = Some(Schedule::new(now, attempt, interval, self.tasks.clone()));
    }

    /// The attempt is over: what collects is aborted, what is storing goes on (see [`Self::is_storing`]).
    pub fn on_attempt_over(&mut self, out: &mut Vec<CheckpointAction<S>>) {
        self.running = None;
        self.abort_collecting(|_| true, "the attempt is over", out);
    }

    /// Returns `true` if a checkpoint is being stored or withdrawn. The outcome decides from where the job is restored.
    #[must_use]
    pub fn is_storing(&self) -> bool {
        self.pending.values().any(Pending::is_undecided)
    }

    /// The newest completed checkpoint that can be read.
    #[must_use]
    pub fn latest(&self) -> Option<CheckpointId> {
        self.completed.latest()
    }

    /// All completed checkpoints that can be read, the newest first.
    #[must_use]
    pub fn candidates(&self) -> Vec<CheckpointId> {
        self.completed.candidates()
    }

    /// The job was restored from this checkpoint; newer ones could not be read.
    pub fn on_restored(&mut self, checkpoint: Option<CheckpointId>) {
        self.completed.on_restored(checkpoint);
        self.last_id = checkpoint.map_or(self.last_id, |checkpoint| checkpoint.max(self.last_id));
    }

    /// The task has processed its last record and waits. When all have, the final checkpoint is due at once.
    pub fn on_task_ended(&mut self, now: MonotonicTime, task: TaskId, out: &mut Vec<CheckpointAction<S>>) {
        if self.running.as_mut().is_some_and(|run| run.on_task_ended(task)) {
            self.trigger_if_due(now, out);
        }
    }

    /// A last checkpoint is wanted, as soon as the one in flight is done.
    pub fn request_stop(&mut self, now: MonotonicTime, out: &mut Vec<CheckpointAction<S>>) {
        if let Some(run) = &mut self.running {
            run.on_stop_wanted();
            self.trigger_if_due(now, out);
        }
    }

    /// A task acknowledges a checkpoint.
    ///
    /// # Errors
    /// Why the acknowledgement counts for nothing.
    pub fn on_ack(
        &mut self,
        now: MonotonicTime,
        attempt: AttemptId,
        checkpoint: CheckpointId,
        task: TaskId,
        snapshot: S,
        out: &mut Vec<CheckpointAction<S>>,
    ) -> Result<(), AckRefusal> {
        self.fail_expired(now, out);
        let tasks = self.tasks.len();
        let pending = self.collecting(attempt, checkpoint, task)?;
        if let Some(parts) = pending.on_ack(task, snapshot, tasks)? {
            let (kind, append_before) = (pending.kind, pending.append_before());
            out.push(CheckpointAction::Store { attempt, checkpoint, kind, parts, append_before });
        }
        Ok(())
    }

    /// A task cannot take part in a checkpoint: it has failed.
    ///
    /// # Errors
    /// Why the message counts for nothing.
    pub fn on_decline(
        &mut self,
        now: MonotonicTime,
        attempt: AttemptId,
        checkpoint: CheckpointId,
        task: TaskId,
        reason: &str,
        out: &mut Vec<CheckpointAction<S>>,
    ) -> Result<(), AckRefusal> {
        self.collecting(attempt, checkpoint, task)?;
        self.fail(now, checkpoint, format!("task {task} declined it: {reason}"), out);
        Ok(())
    }

    /// The checkpoint is in the journal and completed. Earlier checkpoints that still collect are subsumed. One that was
    /// stored so late that what it lists may be aborted is withdrawn.
    pub fn on_stored(
        &mut self,
        now: MonotonicTime,
        checkpoint: CheckpointId,
        out: &mut Vec<CheckpointAction<S>>,
    ) {
        let lateness_max = self.budget.map(TransactionBudget::lateness_max);
        let Some(pending) = self.pending.get_mut(&checkpoint).filter(|pending| pending.is_storing()) else {
            return;
        };
        if lateness_max.is_some_and(|max| pending.is_too_late(now, max)) {
            pending.withdraw();
            out.push(CheckpointAction::Withdraw { checkpoint });
            return;
        }
        let Some(stored) = self.pending.remove(&checkpoint) else {
            return;
        };
        if self.completed.latest().is_some_and(|latest| latest > checkpoint) {
            out.push(CheckpointAction::Discard { checkpoints: vec![checkpoint] });
            return;
        }
        let attempt =
            self.running.as_ref().map(|run| run.attempt).filter(|&running| running == stored.attempt);
        self.failures_in_a_row = 0;
        self.abort_collecting(|id| id < checkpoint, "a newer checkpoint completed first", out);
        if let Some(run) = &mut self.running {
            run.on_completed(now, self.settings.min_pause, stored.kind);
        }
        out.push(CheckpointAction::Complete { attempt, checkpoint, kind: stored.kind });
        let discarded = self.completed.on_completed(checkpoint);
        if !discarded.is_empty() {
            out.push(CheckpointAction::Discard { checkpoints: discarded });
        }
        self.trigger_if_due(now, out);
    }

    /// The checkpoint is out of the journal again.
    pub fn on_withdrawn(
        &mut self,
        now: MonotonicTime,
        checkpoint: CheckpointId,
        out: &mut Vec<CheckpointAction<S>>,
    ) {
        if self.pending.get(&checkpoint).is_some_and(Pending::is_withdrawing) {
            let reason = "it was stored too late: transactions that it lists could be aborted before they are committed";
            self.fail(now, checkpoint, reason.into(), out);
        }
    }

    /// The checkpoint could not be taken out of the journal: that is repeated, because a restart would go on from it.
    pub fn on_not_withdrawn(&mut self, now: MonotonicTime, checkpoint: CheckpointId) {
        let pending = self.pending.get_mut(&checkpoint).filter(|pending| pending.is_withdrawing());
        if let Some(pending) = pending {
            pending.withdraw_at(now + WITHDRAWAL_DELAY);
        }
    }

    /// The checkpoint is certainly not in the journal.
    pub fn on_store_failed(
        &mut self,
        now: MonotonicTime,
        checkpoint: CheckpointId,
        cause: StoreFailure,
        out: &mut Vec<CheckpointAction<S>>,
    ) {
        if !self.pending.get(&checkpoint).is_some_and(Pending::is_undecided) {
            return;
        }
        match cause {
            StoreFailure::Conflict => {
                self.pending.remove(&checkpoint);
                out.push(CheckpointAction::StepDown);
            }
            StoreFailure::Io(reason) => {
                self.fail(now, checkpoint, format!("it was not stored: {reason}"), out);
            }
        }
    }

    /// The monotonic clock has missed this time, and the transactions of sinks have grown older by it.
    pub fn on_time_missed(&mut self, missed: Duration) {
        self.pending.values_mut().for_each(|pending| pending.on_time_missed(missed));
    }

    /// Triggers what is due and ends what took too long.
    pub fn on_deadline(&mut self, now: MonotonicTime, out: &mut Vec<CheckpointAction<S>>) {
        self.fail_expired(now, out);
        self.withdraw_again(now, out);
        self.trigger_if_due(now, out);
    }

    fn withdraw_again(&mut self, now: MonotonicTime, out: &mut Vec<CheckpointAction<S>>) {
        for (&checkpoint, pending) in &mut self.pending {
            if pending.withdrawal_due().is_some_and(|at| at <= now) {
                pending.withdraw();
                out.push(CheckpointAction::Withdraw { checkpoint });
            }
        }
    }

    fn fail_expired(&mut self, now: MonotonicTime, out: &mut Vec<CheckpointAction<S>>) {
        let is_expired = |pending: &Pending<S>| pending.deadline().is_some_and(|deadline| deadline <= now);
        let expired = self.pending.iter().filter(|(_, pending)| is_expired(pending));
        let expired: Vec<_> = expired.map(|(&id, pending)| (id, self.why_expired(pending))).collect();
        for (checkpoint, reason) in expired {
            self.fail(now, checkpoint, reason, out);
        }
    }

    /// When [`Self::on_deadline`] has to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonotonicTime> {
        let of_pending = |pending: &Pending<S>| pending.deadline().or(pending.withdrawal_due());
        self.pending.values().filter_map(of_pending).chain(self.trigger_at()).min()
    }

    fn why_expired(&self, pending: &Pending<S>) -> String {
        let missing = pending.missing(&self.tasks);
        let named: Vec<_> = missing.iter().take(TASKS_NAMED_MAX).map(ToString::to_string).collect();
        let more = if missing.len() > named.len() { ", …" } else { "" };
        let is_limited = self.timeout < self.settings.timeout;
        let limit = if is_limited { ", the time that the transactions of a sink leave it" } else { "" };
        format!(
            "it did not complete within {} ms{limit}; {} of {} tasks have not acknowledged it: {}{more}",
            self.timeout.as_millis(),
            missing.len(),
            self.tasks.len(),
            named.join(", ")
        )
    }

    fn trigger_at(&self) -> Option<MonotonicTime> {
        let run = self.running.as_ref()?;
        let is_last_in_flight = self.pending.values().any(|pending| pending.kind.ends_attempt());
        let is_full = self.pending.len() >= self.settings.in_flight_max.max(1);
        if is_last_in_flight || is_full { None } else { run.due() }
    }

    fn trigger_if_due(&mut self, now: MonotonicTime, out: &mut Vec<CheckpointAction<S>>) {
        if self.trigger_at().is_none_or(|at| now < at) {
            return;
        }
        let Some(run) = &mut self.running else {
            return;
        };
        run.on_triggered(now);
        let (attempt, kind) = (run.attempt, run.kind());
        self.last_id = self.last_id.next();
        let checkpoint = self.last_id;
        self.pending.insert(checkpoint, Pending::new(attempt, kind, now + self.timeout));
        out.push(CheckpointAction::Trigger { attempt, checkpoint, kind });
    }

    fn collecting(
        &mut self,
        attempt: AttemptId,
        checkpoint: CheckpointId,
        task: TaskId,
    ) -> Result<&mut Pending<S>, AckRefusal> {
        let is_undecided = self.pending.get(&checkpoint).is_some_and(Pending::is_undecided);
        if is_undecided || self.completed.is_kept(checkpoint) {
            return Err(AckRefusal::Duplicate);
        }
        if self.running.as_ref().is_none_or(|run| run.attempt != attempt) {
            return Err(AckRefusal::ForeignAttempt);
        }
        if !self.tasks.contains(&task) {
            return Err(AckRefusal::UnknownTask);
        }
        self.pending
            .get_mut(&checkpoint)
            .filter(|pending| pending.attempt == attempt)
            .ok_or(AckRefusal::NotCollecting)
    }

    fn fail(
        &mut self,
        now: MonotonicTime,
        checkpoint: CheckpointId,
        reason: String,
        out: &mut Vec<CheckpointAction<S>>,
    ) {
        let Some(failed) = self.pending.remove(&checkpoint) else {
            return;
        };
        out.push(CheckpointAction::Abort { attempt: failed.attempt, checkpoint, reason: reason.clone() });
        if let Some(run) = &mut self.running {
            run.on_failed(now, self.settings.min_pause);
            self.failures_in_a_row += 1;
        }
        if self.failures_in_a_row > self.settings.tolerable_failures {
            let message = format!(
                "{} checkpoints failed in a row, {} are tolerated; checkpoint {checkpoint}: {reason}",
                self.failures_in_a_row, self.settings.tolerable_failures
            );
            self.failures_in_a_row = 0;
            // Nothing more is triggered in an attempt that is about to end.
            self.running = None;
            out.push(CheckpointAction::FailAttempt { message });
        }
    }

    fn abort_collecting(
        &mut self,
        is_meant: impl Fn(CheckpointId) -> bool,
        reason: &str,
        out: &mut Vec<CheckpointAction<S>>,
    ) {
        let pending = std::mem::take(&mut self.pending);
        for (checkpoint, pending) in pending {
            if pending.is_undecided() || !is_meant(checkpoint) {
                self.pending.insert(checkpoint, pending);
            } else {
                let (attempt, reason) = (pending.attempt, reason.into());
                out.push(CheckpointAction::Abort { attempt, checkpoint, reason });
            }
        }
    }
}
