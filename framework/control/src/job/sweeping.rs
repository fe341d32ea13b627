//! Looks for late zombies from time to time, and before the job ends for good.

use flott_core::{AttemptId, Generation, MonotonicTime};

use super::{Action, JobMaster, JobStatus};

/// The first generation that tasks run in: none is older.
const FIRST: Generation = Generation(1);

impl<S> JobMaster<S> {
    pub(super) fn advance_sweeps(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        if self.sweeps.take_due(now) && self.generation > FIRST {
            self.sweep(self.generation, out);
        }
    }

    pub(super) fn sweep(&mut self, below: Generation, out: &mut Vec<Action<S>>) {
        self.sweeps.on_started();
        out.push(Action::Sweep { below });
    }

    /// Whether tasks were left to themselves, or went on while the end of their attempt was settled.
    pub(super) fn may_have_leftovers(&self, result: JobStatus) -> bool {
        let is_deployed_once_and_done = result == JobStatus::Finished && self.last_attempt == AttemptId(1);
        let has_cancelled = self.last_attempt > AttemptId(0) && !is_deployed_once_and_done;
        self.generation > FIRST || has_cancelled
    }
}
