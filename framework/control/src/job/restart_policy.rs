use std::time::Duration;

use flott_core::{CheckpointId, ErrorKind, MonotonicTime, task::Failure};

use super::JobSettings;
use crate::restart::{Refusals, Repetition, Restart, RestartStrategy};

/// Decides after each failure of the job when it is tried again, if at all.
#[derive(Debug)]
pub(super) struct RestartPolicy {
    strategy: RestartStrategy,
    repetition: Repetition,
    refusals: Refusals,
    start_timeout: Option<Duration>,
    /// The first failure, while no attempt has run.
    failing_since: Option<MonotonicTime>,
    /// An attempt of this JobManager has had every task running.
    has_run: bool,
    random: u64,
}

impl RestartPolicy {
    /// `seed` feeds the jitter of the delays.
    pub(super) fn new(settings: &JobSettings, seed: u64) -> Self {
        Self {
            strategy: RestartStrategy::new(settings.restart.clone()),
            repetition: Repetition::new(settings.restart.same_failures_max),
            refusals: Refusals::new(settings.refusal_timeout),
            start_timeout: settings.start_timeout,
            failing_since: None,
            has_run: false,
            random: seed,
        }
    }

    /// Every task of an attempt runs.
    pub(super) fn on_running(&mut self, now: MonotonicTime) {
        self.has_run = true;
        self.strategy.on_running(now);
    }

    /// An attempt failed. Returns how often it has failed in this way without a completed checkpoint in between when that is
    /// too often. `latest` is the newest completed checkpoint.
    pub(super) fn repetitions(&mut self, failure: &Failure, latest: Option<CheckpointId>) -> Option<u32> {
        self.repetition.on_failure(failure, latest)
    }

    /// When the job is tried again after this failure, if at all. `latest` is the newest completed checkpoint.
    pub(super) fn restart_after(
        &mut self,
        now: MonotonicTime,
        failure: &mut Failure,
        latest: Option<CheckpointId>,
    ) -> Option<MonotonicTime> {
        let random = self.next_random();
        let has_checkpoint = latest.is_some();
        if !failure.is_restartable()
            || self.is_refused_for_good(now, failure, has_checkpoint)
            || self.is_start_given_up(now, has_checkpoint)
        {
            return None;
        }
        match self.strategy.on_failure(now, random) {
            Restart::At(at) => Some(at),
            Restart::GiveUp => None,
        }
    }

    /// Returns `true` if an external system refuses the job and waiting is of no use: a job without a completed checkpoint has
    /// never worked, so its settings are wrong. Otherwise the message says for how long the job is still tried.
    fn is_refused_for_good(
        &mut self,
        now: MonotonicTime,
        failure: &mut Failure,
        has_checkpoint: bool,
    ) -> bool {
        if self.strategy.is_healthy(now) || failure.kind != ErrorKind::Refused {
            self.refusals.end_row();
        }
        if failure.kind != ErrorKind::Refused {
            return false;
        }
        let refusal = self.refusals.on_refusal(now, has_checkpoint);
        failure.message += &format!(" ({})", refusal.text);
        refusal.is_final
    }

    /// Returns `true` if a new job has failed for so long without ever running that a person should look at it.
    fn is_start_given_up(&mut self, now: MonotonicTime, has_checkpoint: bool) -> bool {
        if self.has_run || has_checkpoint {
            return false;
        }
        let since = *self.failing_since.get_or_insert(now);
        self.start_timeout.is_some_and(|timeout| now.since(since) >= timeout)
    }

    /// The next number of a splitmix64 sequence.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
