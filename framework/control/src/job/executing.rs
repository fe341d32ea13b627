//! While an attempt is deployed: its TaskManagers, its tasks, its end.

use std::{collections::BTreeSet, mem, ops::ControlFlow};

use flott_core::{
    AttemptId, CheckpointId, ErrorKind, Generation, MonotonicTime, TaskManagerId,
    task::{Failure, TaskId},
};

use super::{
    Action, JobStatus,
    closing::Closing,
    recovering::Recovering,
    settlement::Settlement,
    state::{JobState, State, Turn},
    world::World,
};
use crate::{
    checkpoint::{CheckpointKind, CommitProgress},
    slots::SlotAssignment,
};

/// The attempt that is deployed.
#[derive(Debug)]
pub(super) struct Executing {
    attempt: AttemptId,
    generation: Generation,
    /// The TaskManagers that run it.
    task_managers: BTreeSet<TaskManagerId>,
    phase: Phase,
    commits: CommitProgress,
    /// When it has to give up: deploying too slowly, or stopping too slowly.
    deadline: Option<MonotonicTime>,
}

/// The progress of an attempt.
#[derive(Debug)]
enum Phase {
    /// Not every task runs yet. A short task may have ended before the last one runs.
    Deploying { running: BTreeSet<TaskId>, ended: BTreeSet<TaskId> },
    /// Every task runs.
    Running,
    /// The final checkpoint is completed and is being committed.
    Finishing { checkpoint: CheckpointId },
    /// The last checkpoint before a suspension is taken, then committed.
    Stopping { checkpoint: Option<CheckpointId> },
}

impl Executing {
    /// Starts the next attempt in these slots; its readers get every split that waits.
    pub(super) fn deploy<S>(
        turn: &mut Turn<'_, S>,
        restore: Option<CheckpointId>,
        assignment: Vec<SlotAssignment>,
    ) -> Self {
        let (attempt, generation) = (turn.world.begin_attempt(&assignment), turn.world.generation());
        let executing = Self {
            attempt,
            generation,
            task_managers: assignment.iter().map(|place| place.task_manager).collect(),
            phase: Phase::Deploying { running: BTreeSet::new(), ended: BTreeSet::new() },
            commits: CommitProgress::new(turn.world.outline.committers()),
            deadline: Some(turn.now + turn.world.settings.deploy_timeout),
        };
        turn.out.push(Action::Deploy { attempt, generation, restore, assignment });
        turn.world.sources.on_attempt(attempt, turn.out);
        executing
    }

    /// The attempt is over because of this failure. What follows is decided here and nowhere else.
    fn fail<S>(&mut self, turn: &mut Turn<'_, S>, mut failure: Failure) -> State {
        self.end(turn);
        let is_stopping = matches!(self.phase, Phase::Stopping { .. });
        if is_stopping && failure.is_restartable() {
            return self.close(turn, JobStatus::Suspended, None);
        }
        if let Some(count) = turn.world.repetitions(&failure) {
            failure.message = format!(
                "the job has failed {count} times in the same way without a completed checkpoint in between (setting \
                 same_failure_attempts): {}",
                failure.message
            );
            return self.close(turn, JobStatus::Failed, Some(failure));
        }
        match turn.world.restart_after(turn.now, &mut failure) {
            Some(restart_at) => {
                turn.out.push(Action::ReportRestart { failure, restart_at });
                State::Recovering(Recovering::after(self.generation, restart_at))
            }
            None => self.close(turn, JobStatus::Failed, Some(failure)),
        }
    }

    fn fail_transiently<S>(&mut self, turn: &mut Turn<'_, S>, message: String) -> ControlFlow<State> {
        ControlFlow::Break(self.fail(turn, Failure::new(ErrorKind::Transient, message)))
    }

    /// Ends the attempt and then this JobManager; the job goes on in a later one.
    fn suspend<S>(&mut self, turn: &mut Turn<'_, S>, settlement: Settlement) -> ControlFlow<State> {
        self.end(turn);
        ControlFlow::Break(State::Closing(Closing::new(turn, JobStatus::Suspended, None, settlement)))
    }

    /// Ends the attempt. The caller decides what follows.
    fn end<S>(&mut self, turn: &mut Turn<'_, S>) {
        let task_managers = mem::take(&mut self.task_managers);
        turn.world.end_attempt(turn.now, self.attempt, task_managers, turn.out);
    }

    /// Ends the job once the output that the attempt has left open is settled.
    fn close<S>(&self, turn: &mut Turn<'_, S>, result: JobStatus, failure: Option<Failure>) -> State {
        State::Closing(Closing::new(turn, result, failure, Settlement::due(self.generation)))
    }

    fn on_all_running<S>(&mut self, turn: &mut Turn<'_, S>, ended: BTreeSet<TaskId>) {
        self.phase = Phase::Running;
        self.deadline = None;
        turn.world.on_all_running(turn.now, self.attempt);
        for task in ended {
            turn.world.on_task_ended(turn.now, task, turn.out);
        }
    }
}

impl<S> JobState<S> for Executing {
    fn status(&self) -> JobStatus {
        match self.phase {
            Phase::Deploying { .. } => JobStatus::Deploying,
            Phase::Running => JobStatus::Running,
            Phase::Finishing { .. } => JobStatus::Finishing,
            Phase::Stopping { .. } => JobStatus::Stopping,
        }
    }

    fn attempt(&self) -> Option<AttemptId> {
        Some(self.attempt)
    }

    fn next_deadline(&self, _world: &World<S>) -> Option<MonotonicTime> {
        self.deadline
    }

    fn advance(&mut self, turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        let is_late = self.deadline.is_some_and(|deadline| deadline <= turn.now);
        let generation = self.generation;
        match self.phase {
            Phase::Finishing { checkpoint } if self.commits.is_done(checkpoint) => {
                let settlement = Settlement::done(generation);
                let closing = Closing::new(turn, JobStatus::Finished, None, settlement);
                ControlFlow::Break(State::Closing(closing))
            }
            Phase::Stopping { checkpoint: Some(checkpoint) } if self.commits.is_done(checkpoint) => {
                self.suspend(turn, Settlement::done(generation))
            }
            Phase::Deploying { .. } if is_late => {
                let timeout_ms = turn.world.settings.deploy_timeout.as_millis();
                self.fail_transiently(turn, format!("not every task was running after {timeout_ms} ms"))
            }
            _ if is_late => self.suspend(turn, Settlement::due(generation)),
            _ => ControlFlow::Continue(()),
        }
    }

    fn on_stop_requested(&mut self, turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        let deadline = turn.now + turn.world.settings.stop_timeout;
        match self.phase {
            Phase::Deploying { .. } => return self.suspend(turn, Settlement::due(self.generation)),
            Phase::Finishing { .. } => {
                self.deadline.get_or_insert(deadline);
            }
            Phase::Running => {
                self.phase = Phase::Stopping { checkpoint: None };
                self.deadline = Some(deadline);
                turn.world.request_stop(turn.now, turn.out);
            }
            Phase::Stopping { .. } => {}
        }
        ControlFlow::Continue(())
    }

    fn on_cancel_requested(&mut self, turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        self.end(turn);
        ControlFlow::Break(self.close(turn, JobStatus::Cancelled, None))
    }

    /// Without discovery a source may wait for ever, so its failure is a failure of the job.
    fn on_discovery_failed(&mut self, turn: &mut Turn<'_, S>, failure: Failure) -> ControlFlow<State> {
        ControlFlow::Break(self.fail(turn, failure))
    }

    /// A TaskManager that leaves in good order takes its slots away. Its tasks move at once, which is no failure.
    fn on_task_manager_draining(&mut self, turn: &mut Turn<'_, S>, id: TaskManagerId) -> ControlFlow<State> {
        let is_moving = matches!(self.phase, Phase::Deploying { .. } | Phase::Running);
        if !is_moving || !self.task_managers.contains(&id) {
            return ControlFlow::Continue(());
        }
        self.end(turn);
        ControlFlow::Break(State::Recovering(Recovering::after(self.generation, turn.now)))
    }

    fn on_task_manager_lost(
        &mut self,
        turn: &mut Turn<'_, S>,
        id: TaskManagerId,
        reason: &str,
    ) -> ControlFlow<State> {
        if self.task_managers.remove(&id) {
            self.fail_transiently(turn, format!("TaskManager {id} was lost: {reason}"))
        } else {
            ControlFlow::Continue(())
        }
    }

    fn on_attempt_failed(
        &mut self,
        turn: &mut Turn<'_, S>,
        attempt: AttemptId,
        failure: Failure,
    ) -> ControlFlow<State> {
        if attempt == self.attempt {
            ControlFlow::Break(self.fail(turn, failure))
        } else {
            ControlFlow::Continue(())
        }
    }

    fn on_attempt_gone(
        &mut self,
        turn: &mut Turn<'_, S>,
        attempt: AttemptId,
        id: TaskManagerId,
    ) -> ControlFlow<State> {
        if attempt == self.attempt && self.task_managers.remove(&id) {
            let message = format!("the tasks of attempt {attempt} in TaskManager {id} ended early");
            self.fail_transiently(turn, message)
        } else {
            ControlFlow::Continue(())
        }
    }

    fn on_task_running(&mut self, turn: &mut Turn<'_, S>, attempt: AttemptId, task: TaskId) {
        let Phase::Deploying { running, ended } = &mut self.phase else {
            return;
        };
        let is_news = attempt == self.attempt && turn.world.outline.has(task) && running.insert(task);
        if is_news && running.len() == turn.world.outline.task_count() {
            let ended = mem::take(ended);
            self.on_all_running(turn, ended);
        }
    }

    /// A short bounded task may end before the last one of its attempt runs: that is kept until all run.
    fn on_task_ended(&mut self, turn: &mut Turn<'_, S>, attempt: AttemptId, task: TaskId) {
        if attempt != self.attempt {
            return;
        }
        if let Phase::Deploying { ended, .. } = &mut self.phase {
            ended.insert(task);
        } else {
            turn.world.on_task_ended(turn.now, task, turn.out);
        }
    }

    fn on_committed(&mut self, attempt: AttemptId, task: TaskId, checkpoint: CheckpointId) {
        if attempt == self.attempt {
            self.commits.on_committed(task, checkpoint);
        }
    }

    fn on_checkpoint_completed(&mut self, checkpoint: CheckpointId, kind: CheckpointKind) {
        match kind {
            CheckpointKind::Periodic => {}
            CheckpointKind::Stop => self.phase = Phase::Stopping { checkpoint: Some(checkpoint) },
            CheckpointKind::Final => self.phase = Phase::Finishing { checkpoint },
        }
    }

    fn on_checkpoints_failed(&mut self, turn: &mut Turn<'_, S>, message: String) -> ControlFlow<State> {
        self.fail_transiently(turn, message)
    }
}
