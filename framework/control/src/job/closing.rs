//! The way out: requests to stop and cancel, the last settling, the end.

use std::time::Duration;

use flott_core::{ErrorKind, Generation, MonotonicTime, task::Failure};

use super::{Action, JobMaster, JobStatus, executing::Phase, master::State, settlement::Settlement};

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
    pub(super) fn status(&self) -> JobStatus {
        match self.result {
            JobStatus::Failed => JobStatus::Failing,
            JobStatus::Cancelled => JobStatus::Cancelling,
            JobStatus::Finished => JobStatus::Finishing,
            _ => JobStatus::Stopping,
        }
    }

    pub(super) fn next_deadline(&self) -> MonotonicTime {
        self.settlement.next_deadline().map_or(self.deadline, |at| at.min(self.deadline))
    }

    pub(super) fn on_settled(&mut self, is_final: bool) {
        if self.settlement.on_settled() && is_final && self.result == JobStatus::Suspended {
            self.result = JobStatus::Finished;
        }
    }

    /// A failure that a person has to look at outranks every other way to end; others are tried again for a while.
    pub(super) fn on_settle_failed(&mut self, now: MonotonicTime, failure: Failure) {
        if !self.settlement.is_running() {
            return;
        }
        if failure.is_restartable() {
            self.settlement.retry_at(now + SETTLE_RETRY_DELAY);
            return;
        }
        self.settlement.on_failed();
        if self.failure.as_ref().is_none_or(Failure::is_restartable) {
            self.result = JobStatus::Failed;
            self.failure = Some(failure);
        }
    }
}

impl<S> JobMaster<S> {
    pub(super) fn on_stop_requested(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        let deadline = now + self.settings.stop_timeout;
        match &mut self.state {
            State::Created => self.finish(JobStatus::Suspended, None, out),
            State::Recovering(recovery) => {
                let settlement = recovery.settlement.clone();
                self.close(now, JobStatus::Suspended, None, settlement);
            }
            State::Executing(execution) => match execution.phase {
                Phase::Deploying { .. } => self.suspend(now, Settlement::due, out),
                Phase::Finishing { .. } => {
                    execution.deadline.get_or_insert(deadline);
                }
                Phase::Running => {
                    execution.phase = Phase::Stopping { checkpoint: None };
                    execution.deadline = Some(deadline);
                    let mut actions = Vec::new();
                    self.checkpoints.request_stop(now, &mut actions);
                    self.carry_out(now, actions, out);
                }
                Phase::Stopping { .. } => {}
            },
            State::Closing(_) | State::Over(_) => {}
        }
    }

    pub(super) fn on_cancel_requested(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        match &mut self.state {
            State::Created => self.finish(JobStatus::Cancelled, None, out),
            State::Recovering(recovery) => {
                let settlement = recovery.settlement.clone();
                self.close(now, JobStatus::Cancelled, None, settlement);
            }
            State::Executing(_) => {
                if let Some(over) = self.end_attempt(now, out) {
                    self.close(now, JobStatus::Cancelled, None, Settlement::due(over.generation));
                }
            }
            State::Closing(closing) if closing.result == JobStatus::Suspended => {
                closing.result = JobStatus::Cancelled;
            }
            State::Closing(_) | State::Over(_) => {}
        }
    }

    /// Ends the attempt and then this JobManager; the job goes on in a later one.
    pub(super) fn suspend(
        &mut self,
        now: MonotonicTime,
        settlement: impl FnOnce(Generation) -> Settlement,
        out: &mut Vec<Action<S>>,
    ) {
        if let Some(over) = self.end_attempt(now, out) {
            self.close(now, JobStatus::Suspended, None, settlement(over.generation));
        }
    }

    /// The job ends as `result` once the settlement is done and its tasks have gone.
    pub(super) fn close(
        &mut self,
        now: MonotonicTime,
        result: JobStatus,
        failure: Option<Failure>,
        settlement: Settlement,
    ) {
        let is_suspended = result == JobStatus::Suspended;
        let timeout = if is_suspended { self.settings.stop_timeout } else { self.settings.close_timeout };
        let deadline = now + timeout;
        self.sweeps.end();
        self.state = State::Closing(Closing { result, failure, settlement, deadline, is_swept: false });
    }

    /// Settling waits for a manifest that is being written, as always: it decides what is to be settled.
    pub(super) fn advance_closing(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        let State::Closing(closing) = &mut self.state else {
            return;
        };
        let is_late = closing.deadline <= now;
        if !is_late && !self.checkpoints.is_storing() && !self.sweeps.is_running() {
            let checkpoint = self.checkpoints.latest();
            if let Some(generation) = closing.settlement.start_if_due(now) {
                if checkpoint.is_some() || generation > Generation(0) {
                    out.push(Action::Settle { checkpoint, generation });
                } else {
                    closing.settlement.on_settled();
                }
            }
        }
        let is_settled = closing.settlement.is_over();
        let is_quiet = is_settled && !self.ending.is_waiting();
        if is_quiet && !is_late {
            self.sweep_at_last(out);
        }
        if is_late || (is_quiet && !self.sweeps.is_running()) {
            self.end_closing(is_settled, out);
        }
    }

    /// Once, when the tasks have gone, and only under names that settling has found to be ours.
    fn sweep_at_last(&mut self, out: &mut Vec<Action<S>>) {
        let State::Closing(closing) = &mut self.state else {
            return;
        };
        let result = closing.result;
        let is_wanted = result.is_globally_terminal() && closing.settlement.is_done() && !closing.is_swept;
        if is_wanted && !self.sweeps.is_running() {
            closing.is_swept = true;
            if self.may_have_leftovers(result) {
                // Also in the present generation: what is of use in it is settled.
                self.sweep(self.generation.next(), out);
            }
        }
    }

    fn end_closing(&mut self, is_settled: bool, out: &mut Vec<Action<S>>) {
        if let State::Closing(closing) = &mut self.state {
            let (result, mut failure) = (closing.result, closing.failure.take());
            if !is_settled {
                let message =
                    "the output of the last checkpoint could not be settled in time; start the job again";
                match &mut failure {
                    Some(failure) => failure.message += &format!("\nAlso, {message}"),
                    None => failure = Some(Failure::new(ErrorKind::Unreachable, message)),
                }
            }
            self.finish(result, failure, out);
        }
    }

    pub(super) fn finish(&mut self, status: JobStatus, failure: Option<Failure>, out: &mut Vec<Action<S>>) {
        self.state = State::Over(status);
        out.push(Action::FinishJob { status, failure });
    }

    pub(super) fn step_down(&mut self, out: &mut Vec<Action<S>>) {
        self.state = State::Over(JobStatus::Suspended);
        out.push(Action::StepDown);
    }
}
