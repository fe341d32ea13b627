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
    /// It failed, and nobody tries again.
    Failed,
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
            Step::Running | Step::Done | Step::Failed => false,
        };
        is_due.then(|| {
            self.step = Step::Running;
            self.generation
        })
    }

    /// Returns the generation if the driver was asked.
    pub(super) fn on_settled(&mut self) -> Option<Generation> {
        (std::mem::replace(&mut self.step, Step::Done) == Step::Running).then_some(self.generation)
    }

    /// Nothing more is asked, unless it is repeated. Returns whether the driver was asked.
    pub(super) fn on_failed(&mut self) -> bool {
        std::mem::replace(&mut self.step, Step::Failed) == Step::Running
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

    /// Done or given up.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.step, Step::Done | Step::Failed)
    }

    pub(super) fn next_deadline(&self) -> Option<MonotonicTime> {
        match self.step {
            Step::RetryAt(at) => Some(at),
            Step::Due | Step::Running | Step::Done | Step::Failed => None,
        }
    }
}
