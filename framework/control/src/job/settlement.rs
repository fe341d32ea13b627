use flott_core::{CheckpointId, ErrorKind, Generation, MonotonicTime, task::Failure};

use super::state::Turn;

/// Settling after one attempt: the newest checkpoint that can be read is looked for, then what it lists is settled. That is
/// asked for at once, and repeated until it succeeds.
#[derive(Clone, Debug)]
pub(super) struct Settlement {
    generation: Generation,
    step: Step,
    /// Checkpoints that could not be read since this began, and why.
    unreadable: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// To be asked for as soon as nothing forbids it.
    Due,
    /// The driver reads this checkpoint.
    Reading(CheckpointId),
    /// The driver settles.
    Settling,
    /// It failed and is repeated at this time.
    RetryAt(MonotonicTime),
    /// Done.
    Done,
    /// It failed, and nobody tries again.
    Failed,
}

impl Settlement {
    /// Settling for everything up to this generation is due.
    pub(super) fn due(generation: Generation) -> Self {
        Self { generation, step: Step::Due, unreadable: Vec::new() }
    }

    /// Nothing is to be settled.
    pub(super) fn done(generation: Generation) -> Self {
        Self { step: Step::Done, ..Self::due(generation) }
    }

    pub(super) fn is_due(&self, now: MonotonicTime) -> bool {
        match self.step {
            Step::Due => true,
            Step::RetryAt(at) => at <= now,
            Step::Reading(_) | Step::Settling | Step::Done | Step::Failed => false,
        }
    }

    /// The newest generation that is settled.
    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    /// Looks for the newest checkpoint that can be read.
    pub(super) fn begin<S>(&mut self, turn: &mut Turn<'_, S>) {
        turn.world.sweeps.end();
        self.unreadable.clear();
        match turn.world.checkpoints.latest() {
            Some(checkpoint) => self.read(turn, checkpoint),
            None => self.settle(turn, None),
        }
    }

    pub(super) fn on_checkpoint_read<S>(&mut self, turn: &mut Turn<'_, S>, checkpoint: CheckpointId) {
        if self.step == Step::Reading(checkpoint) {
            self.settle(turn, Some(checkpoint));
        }
    }

    /// An older checkpoint has to do. Returns the failure when there is none: a job that has had checkpoints does not begin
    /// from nothing by itself.
    pub(super) fn on_checkpoint_unreadable<S>(
        &mut self,
        turn: &mut Turn<'_, S>,
        checkpoint: CheckpointId,
        reason: &str,
    ) -> Option<Failure> {
        if self.step != Step::Reading(checkpoint) {
            return None;
        }
        self.unreadable.push(format!("checkpoint {checkpoint} cannot be read: {reason}"));
        let candidates = turn.world.checkpoints.candidates();
        match candidates.into_iter().find(|&candidate| candidate < checkpoint) {
            Some(older) => {
                self.read(turn, older);
                None
            }
            None => Some(nothing_to_restore(&self.unreadable)),
        }
    }

    /// Returns `true` if the driver was asked.
    pub(super) fn on_settled(&mut self) -> bool {
        let is_asked = self.step == Step::Settling;
        if is_asked {
            self.step = Step::Done;
        }
        is_asked
    }

    /// Nothing more is asked, unless it is repeated. Returns `true` if the driver was asked.
    pub(super) fn on_failed(&mut self) -> bool {
        let is_asked = self.is_running();
        if is_asked {
            self.step = Step::Failed;
        }
        is_asked
    }

    pub(super) fn retry_at(&mut self, at: MonotonicTime) {
        self.step = Step::RetryAt(at);
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.step, Step::Reading(_) | Step::Settling)
    }

    pub(super) fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// Done or given up.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.step, Step::Done | Step::Failed)
    }

    pub(super) fn next_deadline(&self) -> Option<MonotonicTime> {
        match self.step {
            Step::RetryAt(at) => Some(at),
            Step::Due | Step::Reading(_) | Step::Settling | Step::Done | Step::Failed => None,
        }
    }

    fn read<S>(&mut self, turn: &mut Turn<'_, S>, checkpoint: CheckpointId) {
        self.step = Step::Reading(checkpoint);
        turn.world.read_checkpoint(checkpoint, turn.out);
    }

    fn settle<S>(&mut self, turn: &mut Turn<'_, S>, checkpoint: Option<CheckpointId>) {
        self.step = Step::Settling;
        turn.world.settle(checkpoint, !self.unreadable.is_empty(), self.generation, turn.out);
    }
}

/// The failure of a job of which no checkpoint can be read, for these reasons.
#[must_use]
pub fn nothing_to_restore(unreadable: &[String]) -> Failure {
    let text = format!(
        "{}; no other checkpoint is kept. Restore the files from a copy, or start from an empty checkpoint directory",
        unreadable.join("; ")
    );
    Failure::new(ErrorKind::State, text)
}
