use flott_core::task::Failure;

use super::{
    Action, JobStatus,
    state::{JobState, Turn},
};

/// Nothing follows in this JobManager.
#[derive(Debug)]
pub(super) struct Over {
    status: JobStatus,
}

impl Over {
    /// The job ends for this JobManager.
    pub(super) fn finish<S>(turn: &mut Turn<'_, S>, result: JobStatus, failure: Option<Failure>) -> Self {
        let status = turn.world.history.ending(result);
        turn.out.push(Action::FinishJob { status, failure });
        Self { status }
    }

    /// Another JobManager leads.
    pub(super) fn step_down<S>(out: &mut Vec<Action<S>>) -> Self {
        out.push(Action::StepDown);
        Self { status: JobStatus::Suspended }
    }
}

impl<S> JobState<S> for Over {
    fn status(&self) -> JobStatus {
        self.status
    }
}
