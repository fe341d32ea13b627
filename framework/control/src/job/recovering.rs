//! Between two attempts: raise the generation, settle, wait for the delay and for slots, deploy.
//!
//! Every attempt has a generation of its own, also when the tasks of the one before are known to have ended. A request to
//! take a transactional id over carries no epoch: a copy that was sent on a broken connection may be executed much
//! later, and nobody can tell that none is under way. It must not meet an id that the next attempt uses.

use std::{ops::ControlFlow, time::Duration};

use flott_core::{CheckpointId, ErrorKind, Generation, MonotonicTime, task::Failure};

use super::{
    Action, JobStatus, RestoredCheckpoint,
    closing::Closing,
    executing::Executing,
    settlement::Settlement,
    state::{JobState, State, Turn},
    world::World,
};

/// The work between two attempts.
#[derive(Debug)]
pub(super) struct Recovering {
    settlement: Settlement,
    raise: Raise,
    /// This JobManager has deployed no attempt yet.
    is_first: bool,
    /// The end of the restart delay, none when it has passed.
    restart_at: Option<MonotonicTime>,
    /// Since when there are too few slots.
    lacking_since: Option<MonotonicTime>,
    restore: Option<CheckpointId>,
}

/// The generation of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Raise {
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
    fn is_due(self, now: MonotonicTime) -> bool {
        match self {
            Self::Due => true,
            Self::RetryAt(at) => at <= now,
            Self::Running | Self::Raised => false,
        }
    }
}

impl Recovering {
    /// No attempt of this JobManager came before.
    pub(super) fn first(generation: Generation) -> Self {
        Self {
            settlement: Settlement::due(generation),
            raise: Raise::Due,
            is_first: true,
            restart_at: None,
            lacking_since: None,
            restore: None,
        }
    }

    /// The attempt in `generation` is over.
    pub(super) fn after(generation: Generation, restart_at: MonotonicTime) -> Self {
        Self { is_first: false, restart_at: Some(restart_at), ..Self::first(generation) }
    }

    /// A step of the recovery failed: when it is repeated, unless that closes the job.
    fn retry<S>(
        &mut self,
        turn: &mut Turn<'_, S>,
        mut failure: Failure,
    ) -> ControlFlow<State, MonotonicTime> {
        match turn.world.restart_after(turn.now, &mut failure) {
            Some(restart_at) => {
                turn.out.push(Action::ReportRestart { failure, restart_at });
                ControlFlow::Continue(restart_at)
            }
            None => ControlFlow::Break(self.close(turn, JobStatus::Failed, Some(failure))),
        }
    }

    fn close<S>(&self, turn: &mut Turn<'_, S>, result: JobStatus, failure: Option<Failure>) -> State {
        State::Closing(Closing::new(turn, result, failure, self.settlement.clone()))
    }

    /// When the job fails for lack of slots.
    fn slot_deadline<S>(&self, world: &World<S>) -> Option<MonotonicTime> {
        Some(self.lacking_since? + world.settings.slot_timeout?)
    }

    fn raise_if_due<S>(&mut self, turn: &mut Turn<'_, S>) {
        if self.raise.is_due(turn.now) {
            self.raise = Raise::Running;
            turn.world.raise_generation(turn.out);
        }
    }

    /// Settles at once, but for three cases: a manifest that is being written decides *what* is to be settled; a new
    /// JobManager must have its generation first, which shows that it leads; and two must not fence at once.
    fn settle_if_due<S>(&mut self, turn: &mut Turn<'_, S>) {
        let is_unproven = self.is_first && self.raise != Raise::Raised;
        if is_unproven || !self.settlement.is_due(turn.now) || !turn.world.may_settle() {
            return;
        }
        self.settlement.begin(turn);
    }

    fn deploy_if_ready<S>(&mut self, turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        if !self.settlement.is_done() || self.restart_at.is_some() {
            self.lacking_since = None;
            return ControlFlow::Continue(());
        }
        let Some(assignment) = turn.world.choose_slots() else {
            self.lacking_since.get_or_insert(turn.now);
            return self.fail_if_slots_lack_too_long(turn);
        };
        self.lacking_since = None;
        if self.raise == Raise::Raised {
            return ControlFlow::Break(State::Executing(Executing::deploy(turn, self.restore, assignment)));
        }
        ControlFlow::Continue(())
    }

    fn fail_if_slots_lack_too_long<S>(&self, turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        if self.slot_deadline(turn.world).is_none_or(|deadline| deadline > turn.now) {
            return ControlFlow::Continue(());
        }
        let message = format!(
            "the job needs {} slots and {} are free; start more TaskManagers, give them more slots, or lower the \
             parallelism",
            turn.world.outline.slots_needed(),
            turn.world.slots.available()
        );
        let failure = Failure::new(ErrorKind::Unreachable, message);
        ControlFlow::Break(self.close(turn, JobStatus::Failed, Some(failure)))
    }
}

impl<S> JobState<S> for Recovering {
    fn status(&self) -> JobStatus {
        if !self.settlement.is_done() {
            JobStatus::Settling
        } else if self.restart_at.is_some() {
            JobStatus::Restarting
        } else {
            JobStatus::WaitingForSlots
        }
    }

    fn next_deadline(&self, world: &World<S>) -> Option<MonotonicTime> {
        let raise = match self.raise {
            Raise::RetryAt(at) => Some(at),
            Raise::Due | Raise::Running | Raise::Raised => None,
        };
        let deadlines = [raise, self.settlement.next_deadline(), self.restart_at, self.slot_deadline(world)];
        deadlines.into_iter().flatten().min()
    }

    fn advance(&mut self, turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        self.restart_at = self.restart_at.filter(|&at| at > turn.now);
        self.raise_if_due(turn);
        self.settle_if_due(turn);
        self.deploy_if_ready(turn)
    }

    fn on_stop_requested(&mut self, turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        ControlFlow::Break(self.close(turn, JobStatus::Suspended, None))
    }

    fn on_cancel_requested(&mut self, turn: &mut Turn<'_, S>) -> ControlFlow<State> {
        ControlFlow::Break(self.close(turn, JobStatus::Cancelled, None))
    }

    fn on_generation_raised(&mut self) {
        self.raise = Raise::Raised;
    }

    fn on_generation_not_raised(&mut self, turn: &mut Turn<'_, S>, failure: Failure) -> ControlFlow<State> {
        if self.raise == Raise::Running {
            self.raise = Raise::RetryAt(self.retry(turn, failure)?);
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
        sweep_for: Duration,
    ) -> ControlFlow<State> {
        if !self.settlement.on_settled() {
            return ControlFlow::Continue(());
        }
        turn.world.history.on_settled(self.settlement.generation());
        self.restore = restored.as_ref().map(|restored| restored.checkpoint);
        turn.world.sweeps.begin(turn.now, sweep_for);
        turn.world.checkpoints.on_restored(self.restore);
        let sources = match restored {
            Some(restored) if restored.is_final => {
                let settlement = Settlement::done(turn.world.generation());
                let closing = Closing::new(turn, JobStatus::Finished, None, settlement);
                return ControlFlow::Break(State::Closing(closing));
            }
            Some(restored) => restored.sources,
            None => Default::default(),
        };
        turn.world.sources.restore(sources, turn.out);
        ControlFlow::Continue(())
    }

    fn on_settle_failed(&mut self, turn: &mut Turn<'_, S>, failure: Failure) -> ControlFlow<State> {
        if self.settlement.on_failed() {
            let at = self.retry(turn, failure)?;
            self.settlement.retry_at(at);
        }
        ControlFlow::Continue(())
    }

    /// Settling is repeated after the delay, and starts discovery again.
    fn on_discovery_failed(&mut self, turn: &mut Turn<'_, S>, failure: Failure) -> ControlFlow<State> {
        let at = self.retry(turn, failure)?;
        if !self.settlement.is_running() {
            self.settlement.retry_at(at);
        }
        ControlFlow::Continue(())
    }
}
