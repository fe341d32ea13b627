//! Between two attempts: raise the generation, settle, wait for the delay and for slots, deploy.
//!
//! Every attempt has a generation of its own, also when the tasks of the one before are known to have ended. A request to
//! take a transactional id over carries no epoch: a copy that was sent on a broken connection may be executed much
//! later, and nobody can tell that none is under way. It must not meet an id that the next attempt uses.

use std::{collections::BTreeSet, time::Duration};

use flott_core::{CheckpointId, ErrorKind, Generation, MonotonicTime, task::Failure};

use super::{
    Action, JobMaster, JobStatus, RestoredCheckpoint,
    executing::{Execution, Phase},
    master::State,
    settlement::Settlement,
};
use crate::{restart::Restart, slots::SlotAssignment};

/// What has to happen between two attempts.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) settlement: Settlement,
    pub(super) raise: Raise,
    /// This JobManager has deployed no attempt yet.
    pub(super) is_first: bool,
    /// The end of the restart delay, none when it has passed.
    pub(super) restart_at: Option<MonotonicTime>,
    /// Since when there are too few slots.
    pub(super) lacking_since: Option<MonotonicTime>,
    pub(super) restore: Option<CheckpointId>,
}

/// The generation of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raise {
    /// To be asked for at once.
    Due,
    /// The driver is at it.
    Running,
    /// It failed and is repeated at this time.
    RetryAt(MonotonicTime),
    /// No older task knows the current generation.
    Raised,
}

impl Raise {
    pub(super) fn is_due(self, now: MonotonicTime) -> bool {
        match self {
            Self::Due => true,
            Self::RetryAt(at) => at <= now,
            Self::Running | Self::Raised => false,
        }
    }
}

impl Recovery {
    pub(super) fn forget_passed(&mut self, now: MonotonicTime) {
        self.restart_at = self.restart_at.filter(|&at| at > now);
    }

    pub(super) fn status(&self) -> JobStatus {
        if !self.settlement.is_done() {
            JobStatus::Settling
        } else if self.restart_at.is_some() {
            JobStatus::Restarting
        } else {
            JobStatus::WaitingForSlots
        }
    }

    pub(super) fn next_deadline(&self) -> Option<MonotonicTime> {
        let raise = match self.raise {
            Raise::RetryAt(at) => Some(at),
            Raise::Due | Raise::Running | Raise::Raised => None,
        };
        [raise, self.settlement.next_deadline(), self.restart_at].into_iter().flatten().min()
    }
}

impl<S> JobMaster<S> {
    /// Starts without an attempt of this JobManager before it.
    pub(super) fn recover_first(&mut self) {
        self.state = State::Recovering(Recovery {
            settlement: Settlement::due(self.generation),
            raise: Raise::Due,
            is_first: true,
            restart_at: None,
            lacking_since: None,
            restore: None,
        });
    }

    /// Starts after this attempt, which is over.
    pub(super) fn recover_after(&mut self, over: &Execution, restart_at: MonotonicTime) {
        self.state = State::Recovering(Recovery {
            settlement: Settlement::due(over.generation),
            raise: Raise::Due,
            is_first: false,
            restart_at: Some(restart_at),
            lacking_since: None,
            restore: None,
        });
    }

    pub(super) fn on_generation_raised(&mut self, generation: Generation) {
        assert!(generation > self.generation, "generation {generation} is not above {}", self.generation);
        self.generation = generation;
        if let State::Recovering(recovery) = &mut self.state {
            recovery.raise = Raise::Raised;
        }
    }

    pub(super) fn on_generation_not_raised(
        &mut self,
        now: MonotonicTime,
        failure: Failure,
        out: &mut Vec<Action<S>>,
    ) {
        if !matches!(&self.state, State::Recovering(recovery) if recovery.raise == Raise::Running) {
            return;
        }
        if let Some(at) = self.retry_recovery(now, failure, out)
            && let State::Recovering(recovery) = &mut self.state
        {
            recovery.raise = Raise::RetryAt(at);
        }
    }

    pub(super) fn on_settled(
        &mut self,
        now: MonotonicTime,
        restored: Option<RestoredCheckpoint>,
        sweep_for: Duration,
        out: &mut Vec<Action<S>>,
    ) {
        if let State::Closing(closing) = &mut self.state {
            closing.on_settled(restored.is_some_and(|restored| restored.is_final));
            return;
        }
        let State::Recovering(recovery) = &mut self.state else {
            return;
        };
        if !recovery.settlement.on_settled() {
            return;
        }
        recovery.restore = restored.as_ref().map(|restored| restored.checkpoint);
        self.sweeps.begin(now, sweep_for);
        self.checkpoints.on_restored(recovery.restore);
        match restored {
            Some(restored) if restored.is_final => {
                self.close(now, JobStatus::Finished, None, Settlement::done(self.generation));
            }
            Some(restored) => self.restore_sources(restored.sources, out),
            None => self.restore_sources(Default::default(), out),
        }
    }

    pub(super) fn on_settle_failed(
        &mut self,
        now: MonotonicTime,
        failure: Failure,
        out: &mut Vec<Action<S>>,
    ) {
        if let State::Closing(closing) = &mut self.state {
            closing.on_settle_failed(now, failure);
            return;
        }
        let State::Recovering(recovery) = &mut self.state else {
            return;
        };
        if recovery.settlement.on_failed()
            && let Some(at) = self.retry_recovery(now, failure, out)
            && let State::Recovering(recovery) = &mut self.state
        {
            recovery.settlement.retry_at(at);
        }
    }

    /// A step of the recovery failed: when it is repeated, unless that closes the job.
    pub(super) fn retry_recovery(
        &mut self,
        now: MonotonicTime,
        mut failure: Failure,
        out: &mut Vec<Action<S>>,
    ) -> Option<MonotonicTime> {
        let State::Recovering(recovery) = &self.state else {
            return None;
        };
        let settlement = recovery.settlement.clone();
        let retry_at = self.restart_after(now, &mut failure);
        match retry_at {
            Some(restart_at) => out.push(Action::ReportRestart { failure, restart_at }),
            None => self.close(now, JobStatus::Failed, Some(failure), settlement),
        }
        retry_at
    }

    /// When to try again after this failure, if at all.
    pub(super) fn restart_after(
        &mut self,
        now: MonotonicTime,
        failure: &mut Failure,
    ) -> Option<MonotonicTime> {
        let random = self.next_random();
        if !failure.is_restartable() || self.is_refused_for_good(now, failure) || self.is_start_given_up(now)
        {
            return None;
        }
        match self.restart.on_failure(now, random) {
            Restart::At(at) => Some(at),
            Restart::GiveUp => None,
        }
    }

    /// Returns `true` if an external system refuses the job and waiting is of no use: a job without a completed checkpoint has
    /// never worked, so its settings are wrong. Otherwise the message says for how long the job is still tried.
    fn is_refused_for_good(&mut self, now: MonotonicTime, failure: &mut Failure) -> bool {
        if self.restart.is_healthy(now) || failure.kind != ErrorKind::Refused {
            self.refusals.end_row();
        }
        if failure.kind != ErrorKind::Refused {
            return false;
        }
        let refusal = self.refusals.on_refusal(now, self.checkpoints.latest().is_some());
        failure.message += &format!(" ({})", refusal.text);
        refusal.is_final
    }

    /// Whether a new job has failed for so long without ever running that a person should look at it.
    fn is_start_given_up(&mut self, now: MonotonicTime) -> bool {
        if self.has_run || self.checkpoints.latest().is_some() {
            return false;
        }
        let since = *self.failing_since.get_or_insert(now);
        self.settings.start_timeout.is_some_and(|timeout| now.since(since) >= timeout)
    }

    pub(super) fn advance_recovery(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        if let State::Recovering(recovery) = &mut self.state {
            recovery.forget_passed(now);
            self.raise_if_due(now, out);
            self.settle_if_due(now, out);
            self.deploy_if_ready(now, out);
        }
    }

    /// When the job fails for lack of slots.
    pub(super) fn slot_deadline(&self, recovery: &Recovery) -> Option<MonotonicTime> {
        Some(recovery.lacking_since? + self.settings.slot_timeout?)
    }

    fn raise_if_due(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        if let State::Recovering(recovery) = &mut self.state
            && recovery.raise.is_due(now)
        {
            recovery.raise = Raise::Running;
            out.push(Action::RaiseGeneration { above: self.generation });
        }
    }

    /// Settles at once, but for three cases: a manifest that is being written decides *what* is to be settled; a new
    /// JobManager must have its generation first, which shows that it leads; and two must not fence at once.
    fn settle_if_due(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        let State::Recovering(recovery) = &mut self.state else {
            return;
        };
        let is_unproven = recovery.is_first && recovery.raise != Raise::Raised;
        if is_unproven || self.checkpoints.is_storing() || self.sweeps.is_running() {
            return;
        }
        if let Some(generation) = recovery.settlement.start_if_due(now) {
            self.sweeps.end();
            out.push(Action::Settle { checkpoint: self.checkpoints.latest(), generation });
        }
    }

    fn deploy_if_ready(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        let chosen = self.slots.choose(self.outline.slots_needed(), &self.last_assignment);
        let State::Recovering(recovery) = &mut self.state else {
            return;
        };
        if !recovery.settlement.is_done() || recovery.restart_at.is_some() {
            recovery.lacking_since = None;
            return;
        }
        let Some(assignment) = chosen else {
            recovery.lacking_since.get_or_insert(now);
            self.fail_if_slots_lack_too_long(now);
            return;
        };
        recovery.lacking_since = None;
        if recovery.raise == Raise::Raised {
            self.deploy(now, assignment, out);
        }
    }

    fn fail_if_slots_lack_too_long(&mut self, now: MonotonicTime) {
        let State::Recovering(recovery) = &self.state else {
            return;
        };
        let settlement = recovery.settlement.clone();
        if self.slot_deadline(recovery).is_some_and(|deadline| deadline <= now) {
            let message = format!(
                "the job needs {} slots and {} are free; start more TaskManagers, give them more slots, or lower the \
                 parallelism",
                self.outline.slots_needed(),
                self.slots.available()
            );
            let failure = Failure::new(ErrorKind::Unreachable, message);
            self.close(now, JobStatus::Failed, Some(failure), settlement);
        }
    }

    fn deploy(&mut self, now: MonotonicTime, assignment: Vec<SlotAssignment>, out: &mut Vec<Action<S>>) {
        let State::Recovering(recovery) = &self.state else {
            return;
        };
        let (restore, generation) = (recovery.restore, self.generation);
        let attempt = self.last_attempt.next();
        self.last_attempt = attempt;
        self.ending.forget_ended();
        self.commits.reset();
        self.slots.occupy(attempt, &assignment);
        self.last_assignment.clone_from(&assignment);
        self.state = State::Executing(Execution {
            attempt,
            generation,
            task_managers: assignment.iter().map(|place| place.task_manager).collect(),
            phase: Phase::Deploying { running: BTreeSet::new(), ended: BTreeSet::new() },
            deadline: Some(now + self.settings.deploy_timeout),
        });
        out.push(Action::Deploy { attempt, generation, restore, assignment });
        self.assign_splits(out);
    }
}
