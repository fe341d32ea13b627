//! While an attempt is deployed: its TaskManagers, its tasks, its end.

use std::collections::BTreeSet;

use flott_core::{
    AttemptId, CheckpointId, ErrorKind, Generation, MonotonicTime, TaskManagerId,
    task::{Failure, TaskFact, TaskId},
};

use super::{Action, JobMaster, JobStatus, master::State, settlement::Settlement};

/// The attempt that is deployed.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) attempt: AttemptId,
    pub(super) generation: Generation,
    /// Where it runs.
    pub(super) task_managers: BTreeSet<TaskManagerId>,
    pub(super) phase: Phase,
    /// When it has to give up: deploying too slowly, or stopping too slowly.
    pub(super) deadline: Option<MonotonicTime>,
}

/// How far an attempt is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Not every task runs yet. A short task may have ended before the last one runs.
    Deploying { running: BTreeSet<TaskId>, ended: BTreeSet<TaskId> },
    /// Every task runs.
    Running,
    /// The final checkpoint is completed and is being committed.
    Finishing { checkpoint: CheckpointId },
    /// The last checkpoint before a suspension is taken, then committed.
    Stopping { checkpoint: Option<CheckpointId> },
}

impl Execution {
    pub(super) fn status(&self) -> JobStatus {
        match self.phase {
            Phase::Deploying { .. } => JobStatus::Deploying,
            Phase::Running => JobStatus::Running,
            Phase::Finishing { .. } => JobStatus::Finishing,
            Phase::Stopping { .. } => JobStatus::Stopping,
        }
    }
}

impl<S> JobMaster<S> {
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

    /// A TaskManager that leaves in good order takes its slots away. Its tasks move at once, which is no failure.
    pub(super) fn on_draining(&mut self, now: MonotonicTime, id: TaskManagerId, out: &mut Vec<Action<S>>) {
        let is_news = self.slots.drain(id);
        let is_moving = match &self.state {
            State::Executing(execution) => {
                execution.task_managers.contains(&id)
                    && matches!(execution.phase, Phase::Deploying { .. } | Phase::Running)
            }
            _ => false,
        };
        if is_news
            && is_moving
            && let Some(over) = self.end_attempt(now, out)
        {
            self.recover_after(&over, now);
        }
    }

    pub(super) fn on_lost(
        &mut self,
        now: MonotonicTime,
        id: TaskManagerId,
        reason: &str,
        out: &mut Vec<Action<S>>,
    ) {
        self.liveness.on_gone(id);
        self.slots.lose(id);
        self.ending.on_lost(id);
        if let State::Executing(execution) = &mut self.state
            && execution.task_managers.remove(&id)
        {
            let message = format!("TaskManager {id} was lost: {reason}");
            self.fail_attempt(now, Failure::new(ErrorKind::Transient, message), out);
        }
    }

    pub(super) fn on_task(
        &mut self,
        now: MonotonicTime,
        attempt: AttemptId,
        task: TaskId,
        fact: TaskFact<S>,
        out: &mut Vec<Action<S>>,
    ) {
        match fact {
            TaskFact::Running => self.on_task_running(now, attempt, task, out),
            TaskFact::Ended => self.on_task_ended(now, attempt, task, out),
            TaskFact::Snapshot { checkpoint, snapshot } => {
                self.on_ack(now, attempt, checkpoint, task, snapshot, out);
            }
            TaskFact::Declined { checkpoint, reason } => {
                self.on_decline(now, attempt, checkpoint, task, &reason, out);
            }
            TaskFact::Committed { checkpoint } => self.on_committed(attempt, checkpoint, task),
            TaskFact::Failed { mut failure } => {
                failure.message = format!("task {task}: {}", failure.message);
                self.on_attempt_failed(now, attempt, failure, out);
            }
        }
    }

    fn on_task_running(
        &mut self,
        now: MonotonicTime,
        attempt: AttemptId,
        task: TaskId,
        out: &mut Vec<Action<S>>,
    ) {
        let (is_known, tasks) = (self.outline.has(task), self.outline.task_count());
        let Some(execution) = self.execution_of(attempt) else {
            return;
        };
        let Phase::Deploying { running, ended } = &mut execution.phase else {
            return;
        };
        if is_known && running.insert(task) && running.len() == tasks {
            let ended = std::mem::take(ended);
            execution.phase = Phase::Running;
            execution.deadline = None;
            self.on_all_running(now, attempt, ended, out);
        }
    }

    pub(super) fn on_attempt_failed(
        &mut self,
        now: MonotonicTime,
        attempt: AttemptId,
        failure: Failure,
        out: &mut Vec<Action<S>>,
    ) {
        if self.execution_of(attempt).is_some() {
            self.fail_attempt(now, failure, out);
        }
    }

    pub(super) fn on_gone(
        &mut self,
        now: MonotonicTime,
        attempt: AttemptId,
        id: TaskManagerId,
        out: &mut Vec<Action<S>>,
    ) {
        if let Some(execution) = self.execution_of(attempt)
            && execution.task_managers.remove(&id)
        {
            let message = format!("the tasks of attempt {attempt} in TaskManager {id} ended early");
            self.fail_attempt(now, Failure::new(ErrorKind::Transient, message), out);
        }
        self.ending.on_gone(attempt, id);
        self.slots.release(attempt, id);
    }

    /// The attempt is over because of this failure. What follows is decided here and nowhere else.
    pub(super) fn fail_attempt(
        &mut self,
        now: MonotonicTime,
        mut failure: Failure,
        out: &mut Vec<Action<S>>,
    ) {
        let Some(over) = self.end_attempt(now, out) else {
            return;
        };
        let settlement = Settlement::due(over.generation);
        let is_stopping = matches!(over.phase, Phase::Stopping { .. });
        if is_stopping && failure.is_restartable() {
            self.close(now, JobStatus::Suspended, None, settlement);
            return;
        }
        if let Some(count) = self.repetition.on_failure(&failure, self.checkpoints.latest()) {
            failure.message = format!(
                "the job has failed {count} times in the same way without a completed checkpoint in between (setting \
                 same_failure_attempts): {}",
                failure.message
            );
            self.close(now, JobStatus::Failed, Some(failure), settlement);
            return;
        }
        match self.restart_after(now, &mut failure) {
            Some(restart_at) => {
                out.push(Action::ReportRestart { failure, restart_at });
                self.recover_after(&over, restart_at);
            }
            None => self.close(now, JobStatus::Failed, Some(failure), settlement),
        }
    }

    /// Ends the attempt that is deployed. The caller decides what follows.
    pub(super) fn end_attempt(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) -> Option<Execution> {
        let attempt = self.attempt()?;
        let State::Executing(over) = std::mem::replace(&mut self.state, State::Created) else {
            return None;
        };
        let task_managers = over.task_managers.clone();
        if !task_managers.is_empty() {
            let task_managers = task_managers.iter().copied().collect();
            out.push(Action::CancelTasks { attempt, task_managers });
        }
        let deadline = now + self.settings.cancel_timeout;
        self.ending.begin(attempt, task_managers, deadline);
        self.sources.values_mut().for_each(crate::splits::SplitAssignment::on_attempt_over);
        let mut actions = Vec::new();
        self.checkpoints.on_attempt_over(&mut actions);
        self.carry_out(now, actions, out);
        Some(over)
    }

    pub(super) fn advance_execution(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        let State::Executing(execution) = &self.state else {
            return;
        };
        let is_late = execution.deadline.is_some_and(|deadline| deadline <= now);
        match execution.phase {
            Phase::Finishing { checkpoint } if self.commits.is_done(checkpoint) => {
                let settlement = Settlement::done(execution.generation);
                self.close(now, JobStatus::Finished, None, settlement);
            }
            Phase::Stopping { checkpoint: Some(checkpoint) } if self.commits.is_done(checkpoint) => {
                self.suspend(now, Settlement::done, out);
            }
            Phase::Deploying { .. } if is_late => {
                let timeout_ms = self.settings.deploy_timeout.as_millis();
                let message = format!("not every task was running after {timeout_ms} ms");
                self.fail_attempt(now, Failure::new(ErrorKind::Transient, message), out);
            }
            _ if is_late => self.suspend(now, Settlement::due, out),
            _ => {}
        }
    }

    pub(super) fn execution_of(&mut self, attempt: AttemptId) -> Option<&mut Execution> {
        match &mut self.state {
            State::Executing(execution) if execution.attempt == attempt => Some(execution),
            _ => None,
        }
    }

    fn on_all_running(
        &mut self,
        now: MonotonicTime,
        attempt: AttemptId,
        ended: BTreeSet<TaskId>,
        out: &mut Vec<Action<S>>,
    ) {
        self.has_run = true;
        self.restart.on_running(now);
        self.checkpoints.on_attempt_running(now, attempt);
        let mut actions = Vec::new();
        for task in ended {
            self.checkpoints.on_task_ended(now, task, &mut actions);
        }
        self.carry_out(now, actions, out);
    }
}
