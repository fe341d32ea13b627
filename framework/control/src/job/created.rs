use std::ops::ControlFlow;

use super::{
    JobStatus,
    over::Over,
    recovering::Recovering,
    state::{JobState, State, Turn},
};

/// Nothing was done yet: the job ends at once when it is asked to.
#[derive(Debug)]
pub(super) struct Created;

impl<S> JobState<S> for Created {
    fn status(&self) -> JobStatus {
        JobStatus::Created
    }

    fn on_start(&mut self, turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        ControlFlow::Break(State::Recovering(Recovering::first(turn.world.generation())))
    }

    fn on_stop_requested(&mut self, turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        ControlFlow::Break(State::Over(Over::finish(turn, JobStatus::Suspended, None)))
    }

    fn on_cancel_requested(&mut self, turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        ControlFlow::Break(State::Over(Over::finish(turn, JobStatus::Cancelled, None)))
    }
}
