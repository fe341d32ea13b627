use std::{ops::ControlFlow, time::Duration};

use flott_core::{
    AttemptId, CheckpointId, MonotonicTime, TaskManagerId,
    task::{Failure, TaskId},
};

use super::{
    Action, JobStatus, RestoredCheckpoint, closing::Closing, created::Created, executing::Executing,
    over::Over, recovering::Recovering, settlement::Settlement, world::World,
};
use crate::checkpoint::CheckpointKind;

/// The state that the job is in.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing was done yet.
    Created(Created),
    /// Between two attempts.
    Recovering(Recovering),
    /// An attempt is deployed.
    Executing(Executing),
    /// No attempt follows.
    Closing(Closing),
    /// Nothing follows.
    Over(Over),
}

/// One call of the JobMaster: the present time, and the actions that the call asks for.
pub(super) struct Turn<'a, S> {
    pub(super) now: MonotonicTime,
    pub(super) world: &'a mut World<S>,
    pub(super) out: &'a mut Vec<Action<S>>,
}

/// The reactions of one state of the job. `Break` leaves the state for another one. A fact that a state has no reaction to
/// changes nothing in it.
pub(super) trait JobState<S> {
    fn status(&self) -> JobStatus;

    /// The attempt that is deployed.
    fn attempt(&self) -> Option<AttemptId> {
        None
    }

    /// When [`Self::advance`] has to be called, at the latest.
    fn next_deadline(&self, _world: &World<S>) -> Option<MonotonicTime> {
        None
    }

    /// Does whatever is due: facts only change what is known, this draws the conclusions.
    fn advance(&mut self, _turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        ControlFlow::Continue(())
    }

    fn on_start(&mut self, _turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        ControlFlow::Continue(())
    }

    fn on_stop_requested(&mut self, _turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        ControlFlow::Continue(())
    }

    fn on_cancel_requested(&mut self, _turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        ControlFlow::Continue(())
    }

    fn on_generation_raised(&mut self) {}

    fn on_generation_not_raised(&mut self, _turn: &mut Turn<'_, S>, _failure: Failure) -> ControlFlow<State> {
        ControlFlow::Continue(())
    }

    /// The settlement of a state that has one.
    fn settlement(&mut self) -> Option<&mut Settlement> {
        None
    }

    fn on_checkpoint_read(&mut self, turn: &mut Turn<'_, S>, checkpoint: CheckpointId) {
        if let Some(settlement) = self.settlement() {
            settlement.on_checkpoint_read(turn, checkpoint);
        }
    }

    fn on_checkpoint_unreadable(
        &mut self,
        turn: &mut Turn<'_, S>,
        checkpoint: CheckpointId,
        reason: &str,
    ) -> ControlFlow<State> {
        let settlement = self.settlement();
        match settlement.and_then(|settlement| settlement.on_checkpoint_unreadable(turn, checkpoint, reason))
        {
            Some(failure) => self.on_settle_failed(turn, failure),
            None => ControlFlow::Continue(()),
        }
    }

    fn on_settled(
        &mut self,
        _turn: &mut Turn<'_, S>,
        _restored: Option<RestoredCheckpoint>,
        _sweep_for: Duration,
    ) -> ControlFlow<State> {
        ControlFlow::Continue(())
    }

    fn on_settle_failed(&mut self, _turn: &mut Turn<'_, S>, _failure: Failure) -> ControlFlow<State> {
        ControlFlow::Continue(())
    }

    fn on_discovery_failed(&mut self, _turn: &mut Turn<'_, S>, _failure: Failure) -> ControlFlow<State> {
        ControlFlow::Continue(())
    }

    fn on_task_manager_draining(
        &mut self,
        _turn: &mut Turn<'_, S>,
        _id: TaskManagerId,
    ) -> ControlFlow<State> {
        ControlFlow::Continue(())
    }

    fn on_task_manager_lost(
        &mut self,
        _turn: &mut Turn<'_, S>,
        _id: TaskManagerId,
        _reason: &str,
    ) -> ControlFlow<State> {
        ControlFlow::Continue(())
    }

    fn on_attempt_failed(
        &mut self,
        _turn: &mut Turn<'_, S>,
        _attempt: AttemptId,
        _failure: Failure,
    ) -> ControlFlow<State> {
        ControlFlow::Continue(())
    }

    fn on_attempt_gone(
        &mut self,
        _turn: &mut Turn<'_, S>,
        _attempt: AttemptId,
        _id: TaskManagerId,
    ) -> ControlFlow<State> {
        ControlFlow::Continue(())
    }

    fn on_task_running(&mut self, _turn: &mut Turn<'_, S>, _attempt: AttemptId, _task: TaskId) {}

    fn on_task_ended(&mut self, _turn: &mut Turn<'_, S>, _attempt: AttemptId, _task: TaskId) {}

    fn on_committed(&mut self, _attempt: AttemptId, _task: TaskId, _checkpoint: CheckpointId) {}

    /// A checkpoint of the attempt is completed.
    fn on_checkpoint_completed(&mut self, _checkpoint: CheckpointId, _kind: CheckpointKind) {}

    /// More checkpoints of the attempt have failed than are tolerated.
    fn on_checkpoints_failed(&mut self, _turn: &mut Turn<'_, S>, _message: String) -> ControlFlow<State> {
        ControlFlow::Continue(())
    }
}

impl State {
    pub(super) fn as_job_state<S>(&self) -> &dyn JobState<S> {
        match self {
            Self::Created(state) => state,
            Self::Recovering(state) => state,
            Self::Executing(state) => state,
            Self::Closing(state) => state,
            Self::Over(state) => state,
        }
    }

    pub(super) fn as_job_state_mut<S>(&mut self) -> &mut dyn JobState<S> {
        match self {
            Self::Created(state) => state,
            Self::Recovering(state) => state,
            Self::Executing(state) => state,
            Self::Closing(state) => state,
            Self::Over(state) => state,
        }
    }
}
