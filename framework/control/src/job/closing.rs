//! The way out: the last settling, the last sweep, the end.

use std::{ops::ControlFlow, time::Duration};

use flott_core::{ErrorKind, Generation, MonotonicTime, task::Failure};

use super::{
    JobStatus, RestoredCheckpoint,
    over::Over,
    settlement::Settlement,
    state::{JobState, State, Turn},
    world::World,
};

const SETTLE_RETRY_DELAY: Duration = Duration::from_millis(500);

/// How the job will end once everything is settled and its tasks have gone.
#[derive(Debug)]
pub(super) struct Closing {
    result: JobStatus,
    failure: Option<Failure>,
    settlement: Settlement,
    deadline: MonotonicTime,
    is_swept: bool,
}

impl Closing {
    /// The job ends as `result` once the settlement is done and its tasks have gone.
    pub(super) fn new<S>(
        turn: &mut Turn<'_, S>,
        result: JobStatus,
        failure: Option<Failure>,
        settlement: Settlement,
    ) -> Self {
        let settings = &turn.world.settings;
        let is_suspended = result == JobStatus::Suspended;
        let timeout = if is_suspended { settings.stop_timeout } else { settings.close_timeout };
        let deadline = turn.now + timeout;
        turn.world.sweeps.end();
        Self { result, failure, settlement, deadline, is_swept: false }
    }

    /// Settling waits for a manifest that is being written, as always: it decides what is to be settled.
    fn settle_if_due<S>(&mut self, turn: &mut Turn<'_, S>) {
        if !self.settlement.is_due(turn.now) || !turn.world.may_settle() {
            return;
        }
        if turn.world.checkpoints.latest().is_none() && self.settlement.generation() == Generation(0) {
            // Nobody has left anything behind.
            self.settlement = Settlement::done(Generation(0));
        } else {
            self.settlement.begin(turn);
        }
    }

    /// Once, when the tasks have gone, and only under names that settling has found to be ours.
    fn sweep_at_last<S>(&mut self, turn: &mut Turn<'_, S>) {
        let is_wanted = self.result.is_globally_terminal() && self.settlement.is_done() && !self.is_swept;
        if is_wanted && !turn.world.sweeps.is_running() {
            self.is_swept = true;
            if turn.world.may_have_leftovers(self.result) {
                // Also in the present generation: what is of use in it is settled.
                let below = turn.world.generation().next();
                turn.world.sweeps.start(below, turn.out);
            }
        }
    }

    fn finish<S>(&mut self, turn: &mut Turn<'_, S>, is_settled: bool) -> State {
        let mut failure = self.failure.take();
        if !is_settled {
            let message =
                "the output of the last checkpoint could not be settled in time; start the job again";
            match &mut failure {
                Some(failure) => failure.message += &format!("\nAlso, {message}"),
                None => failure = Some(Failure::new(ErrorKind::Unreachable, message)),
            }
        }
        State::Over(Over::finish(turn, self.result, failure))
    }
}

impl<S> JobState<S> for Closing {
    fn status(&self) -> JobStatus {
        match self.result {
            JobStatus::Failed => JobStatus::Failing,
            JobStatus::Cancelled => JobStatus::Cancelling,
            JobStatus::Finished => JobStatus::Finishing,
            _ => JobStatus::Stopping,
        }
    }

    fn next_deadline(&self, _world: &World<S>) -> Option<MonotonicTime> {
        self.settlement.next_deadline().into_iter().chain([self.deadline]).min()
    }

    fn advance(&mut self, turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        let is_late = self.deadline <= turn.now;
        if !is_late {
            self.settle_if_due(turn);
        }
        let is_settled = self.settlement.is_over();
        let is_quiet = is_settled && !turn.world.is_waiting_for_tasks();
        if is_quiet && !is_late {
            self.sweep_at_last(turn);
        }
        if is_late || (is_quiet && !turn.world.sweeps.is_running()) {
            return ControlFlow::Break(self.finish(turn, is_settled));
        }
        ControlFlow::Continue(())
    }

    fn on_cancel_requested(&mut self, _turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        if self.result == JobStatus::Suspended {
            self.result = JobStatus::Cancelled;
        }
        ControlFlow::Continue(())
    }

    fn settlement(&mut self) -> Option<&mut Settlement> {
        Some(&mut self.settlement)
    }

    fn on_settled(
        &mut self,
        turn: &mut Turn<'_, S>,
        restored: Option<RestoredCheckpoint>,
        _sweep_for: Duration,
    ) -> ControlFlow<State> {
        if !self.settlement.on_settled() {
            return ControlFlow::Continue(());
        }
        turn.world.history.on_settled(self.settlement.generation());
        let is_final = restored.is_some_and(|restored| restored.is_final);
        if is_final && self.result == JobStatus::Suspended {
            self.result = JobStatus::Finished;
        }
        ControlFlow::Continue(())
    }

    /// A failure that a person has to look at outranks every other way to end; others are tried again for a while.
    fn on_settle_failed(&mut self, turn: &mut Turn<'_, S>, failure: Failure) -> ControlFlow<State> {
        if !self.settlement.is_running() {
            return ControlFlow::Continue(());
        }
        if failure.is_restartable() {
            self.settlement.retry_at(turn.now + SETTLE_RETRY_DELAY);
            return ControlFlow::Continue(());
        }
        self.settlement.on_failed();
        if self.failure.as_ref().is_none_or(Failure::is_restartable) {
            self.result = JobStatus::Failed;
            self.failure = Some(failure);
        }
        ControlFlow::Continue(())
    }
}
