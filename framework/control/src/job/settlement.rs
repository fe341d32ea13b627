use flott_core::{Generation, MonotonicTime};

/// Settling after one attempt: asked for at once, repeated until it succeeds.
#[derive(Clone, Debug)]
pub(super) struct Settlement {
    generation: Generation,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// To be asked for as soon as nothing forbids it.
    Due,
    /// The driver is at it.
    Running,
    /// It failed and is repeated at this time.
    RetryAt(MonotonicTime),
    /// Done.
    Done,
}

impl Settlement {
    /// Settling for everything up to this generation is due.
    pub(super) fn due(generation: Generation) -> Self {
        Self { generation, step: Step::Due }
    }

    /// Nothing is to be settled.
    pub(super) fn done(generation: Generation) -> Self {
        Self { generation, step: Step::Done }
    }

    /// Returns the generation when the driver has to start now.
    pub(super) fn start_if_due(&mut self, now: MonotonicTime) -> Option<Generation> {
        let is_due = match self.step {
            Step::Due => true,
            Step::RetryAt(at) => at <= now,
            Step::Running | Step::Done => false,
        };
        is_due.then(|| {
            self.step = Step::Running;
            self.generation
        })
    }

    /// The driver has answered and nothing more is to be asked. Returns whether it was asked before.
    pub(super) fn on_settled(&mut self) -> bool {
        std::mem::replace(&mut self.step, Step::Done) == Step::Running
    }

    pub(super) fn retry_at(&mut self, at: MonotonicTime) {
        self.step = Step::RetryAt(at);
    }

    pub(super) fn is_running(&self) -> bool {
        self.step == Step::Running
    }

    pub(super) fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    pub(super) fn next_deadline(&self) -> Option<MonotonicTime> {
        match self.step {
            Step::RetryAt(at) => Some(at),
            Step::Due | Step::Running | Step::Done => None,
        }
    }
}
