//! Between two attempts: settle, raise the generation if needed, wait for the delay and for slots, deploy.

use std::{collections::BTreeSet, time::Duration};

use flott_core::{AttemptId, ErrorKind, Generation, MonotonicTime};

use super::{
    Action, JobMaster, JobStatus, RestoredCheckpoint,
    execution::{Execution, Phase},
    master::State,
    recovery::{Raise, Recovery},
    settlement::Settlement,
};
use crate::{Failure, restart::Restart, slots::SlotAssignment};

impl<S> JobMaster<S> {
    /// Starts without an attempt of this JobManager before it.
    pub(super) fn recover_first(&mut self) {
        self.state = State::Recovering(Recovery {
            settlement: Settlement::due(self.generation),
            raise: Raise::Undecided,
            previous: None,
            restart_at: None,
            grace_until: None,
            lacking_since: None,
            restore: None,
        });
    }

    /// Starts after this attempt, which is over.
    pub(super) fn recover_after(&mut self, now: MonotonicTime, over: &Execution, restart_at: MonotonicTime) {
        self.state = State::Recovering(Recovery {
            settlement: Settlement::due(over.generation),
            raise: Raise::Undecided,
            previous: Some(over.attempt),
            restart_at: Some(restart_at),
            grace_until: Some(now + self.settings.end_grace),
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
        failure: Failure,
        out: &mut Vec<Action<S>>,
    ) -> Option<MonotonicTime> {
        let State::Recovering(recovery) = &self.state else {
            return None;
        };
        let settlement = recovery.settlement.clone();
        let retry_at = self.restart_after(now, &failure);
        match retry_at {
            Some(restart_at) => out.push(Action::ReportRestart { failure, restart_at }),
            None => self.close(now, JobStatus::Failed, Some(failure), settlement),
        }
        retry_at
    }

    /// When to try again after this failure, if at all.
    pub(super) fn restart_after(&mut self, now: MonotonicTime, failure: &Failure) -> Option<MonotonicTime> {
        let random = self.next_random();
        if !failure.is_restartable() || self.is_start_given_up(now) {
            return None;
        }
        match self.restart.on_failure(now, random) {
            Restart::At(at) => Some(at),
            Restart::GiveUp => None,
        }
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
            self.raise_if_needed(now, false, out);
            self.settle_if_due(now, out);
            self.deploy_if_ready(now, out);
        }
    }

    /// When the job fails for lack of slots.
    pub(super) fn slot_deadline(&self, recovery: &Recovery) -> Option<MonotonicTime> {
        let is_first = self.last_attempt == AttemptId(0);
        let timeout = if is_first { self.settings.initial_slot_timeout } else { self.settings.slot_timeout };
        Some(recovery.lacking_since? + timeout?)
    }

    /// Asks for a higher generation when the next attempt cannot use the present one. That is certain at the start and
    /// when a TaskManager was lost; otherwise it shows only when all else is ready and the grace has passed.
    fn raise_if_needed(&mut self, now: MonotonicTime, is_all_else_ready: bool, out: &mut Vec<Action<S>>) {
        let State::Recovering(recovery) = &mut self.state else {
            return;
        };
        let is_needed = match (recovery.raise, recovery.previous) {
            (Raise::Running | Raise::Raised, _) => false,
            (Raise::RetryAt(at), _) => at <= now,
            (Raise::Undecided, None) => true,
            (Raise::Undecided, Some(previous)) => {
                let is_too_late = is_all_else_ready && recovery.grace_until.is_none();
                self.ending.is_unconfirmable(previous) || (is_too_late && !self.ending.is_confirmed(previous))
            }
        };
        if is_needed {
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
        let is_unproven = recovery.previous.is_none() && recovery.raise != Raise::Raised;
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
        self.raise_if_needed(now, true, out);
        if self.is_generation_ready() {
            self.deploy(now, assignment, out);
        }
    }

    fn is_generation_ready(&self) -> bool {
        match &self.state {
            State::Recovering(Recovery { raise: Raise::Raised, .. }) => true,
            State::Recovering(Recovery { raise: Raise::Undecided, previous: Some(previous), .. }) => {
                self.ending.is_confirmed(*previous)
            }
            _ => false,
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
            is_unconfirmable: false,
            phase: Phase::Deploying { running: BTreeSet::new(), ended: BTreeSet::new() },
            deadline: Some(now + self.settings.deploy_timeout),
        });
        out.push(Action::Deploy { attempt, generation, restore, assignment });
        self.assign_splits(out);
    }
}
