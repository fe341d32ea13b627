use std::collections::BTreeMap;

use flott_core::Generation;

use super::{JobStatus, ShutdownStep};

/// The history of this run: its generations, whether it repeats another run, and the requests to end this process.
#[derive(Debug)]
pub(super) struct RunHistory {
    generation: Generation,
    /// Generations in which output may be left open, with the parallelism of their sinks.
    unswept: BTreeMap<Generation, u32>,
    /// The run repeats one that had ended.
    is_repeat: bool,
    /// A snapshot file was found damaged: what is restored next is read through first.
    is_thorough: bool,
    /// The step taken last, if this process was asked to end.
    shutdown: Option<ShutdownStep>,
}

impl RunHistory {
    pub(super) fn new(
        generation: Generation,
        unswept: impl IntoIterator<Item = (Generation, u32)>,
        is_repeat: bool,
    ) -> Self {
        let unswept = unswept.into_iter().collect();
        Self { generation, unswept, is_repeat, is_thorough: false, shutdown: None }
    }

    /// The generation raised last.
    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    pub(super) fn is_repeat(&self) -> bool {
        self.is_repeat
    }

    pub(super) fn is_thorough(&self) -> bool {
        self.is_thorough
    }

    /// Generations up to this one that are not swept, with their parallelism.
    pub(super) fn unswept(&self, up_to: Generation) -> Vec<(Generation, u32)> {
        self.unswept.range(..=up_to).map(|(&generation, &parallelism)| (generation, parallelism)).collect()
    }

    pub(super) fn on_generation_raised(&mut self, generation: Generation, parallelism: u32) {
        assert!(generation > self.generation, "generation {generation} is not above {}", self.generation);
        self.generation = generation;
        self.unswept.insert(generation, parallelism);
    }

    /// No output of generations up to this one is left open. It stays among the unswept ones: tasks of an attempt of this
    /// JobManager may still use it.
    pub(super) fn on_settled(&mut self, generation: Generation) {
        self.unswept = self.unswept.split_off(&generation);
        self.is_thorough = false;
    }

    pub(super) fn on_snapshot_damaged(&mut self) {
        self.is_thorough = true;
    }

    /// Returns the next step of the shutdown.
    pub(super) fn on_shutdown_requested(&mut self) -> ShutdownStep {
        let step = match self.shutdown {
            None => ShutdownStep::Stop,
            Some(ShutdownStep::Stop) => ShutdownStep::Cancel,
            Some(ShutdownStep::Cancel | ShutdownStep::Abandon) => ShutdownStep::Abandon,
        };
        self.shutdown = Some(step);
        step
    }

    /// The end of the job for this JobManager. Who asks twice to end wants this process to end, not the job: that is only
    /// suspended when its tasks are cancelled.
    pub(super) fn ending(&self, result: JobStatus) -> JobStatus {
        let is_process_cancelled = self.shutdown >= Some(ShutdownStep::Cancel);
        if is_process_cancelled && result == JobStatus::Cancelled { JobStatus::Suspended } else { result }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generations(numbers: &[u64]) -> Vec<(Generation, u32)> {
        numbers.iter().map(|&number| (Generation(number), 2)).collect()
    }

    #[test]
    fn generations_are_swept_up_to_the_one_before_the_settled_one() {
        let mut history = RunHistory::new(Generation(4), generations(&[2, 4]), false);
        history.on_generation_raised(Generation(5), 2);
        assert_eq!(history.unswept(Generation(4)), generations(&[2, 4]));
        history.on_settled(Generation(4));
        assert_eq!(history.unswept(Generation(4)), generations(&[4]));
        assert_eq!(history.unswept(Generation(9)), generations(&[4, 5]));
        history.on_settled(Generation(5));
        assert_eq!(history.unswept(Generation(9)), generations(&[5]));
    }

    #[test]
    fn a_settlement_that_found_every_file_whole_ends_thorough_reading() {
        let mut history = RunHistory::new(Generation(0), [], false);
        assert!(!history.is_thorough());
        history.on_snapshot_damaged();
        assert!(history.is_thorough());
        history.on_settled(Generation(0));
        assert!(!history.is_thorough());
    }

    fn asked_to_end(times: usize) -> RunHistory {
        let mut history = RunHistory::new(Generation(0), [], false);
        for _ in 0..times {
            history.on_shutdown_requested();
        }
        history
    }

    #[test]
    fn each_request_to_end_the_process_takes_the_next_step() {
        let steps = [0, 1, 2, 3].map(|times| asked_to_end(times).on_shutdown_requested());
        assert_eq!(
            steps,
            [ShutdownStep::Stop, ShutdownStep::Cancel, ShutdownStep::Abandon, ShutdownStep::Abandon]
        );
    }

    #[test]
    fn a_process_that_is_asked_twice_to_end_does_not_cancel_its_job() {
        let endings = |result| [0, 1, 2, 3].map(|times| asked_to_end(times).ending(result));
        let (cancelled, suspended) = (JobStatus::Cancelled, JobStatus::Suspended);
        assert_eq!(endings(cancelled), [cancelled, cancelled, suspended, suspended]);
        for result in [JobStatus::Finished, JobStatus::Failed, JobStatus::Suspended] {
            assert_eq!(endings(result), [result; 4]);
        }
    }
}
