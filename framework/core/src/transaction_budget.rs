//! Division of the time for which an external system keeps a transaction open.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// A checkpoint that has to be complete sooner than this is not worth a try.
const CHECKPOINT_LIMIT_MIN: Duration = Duration::from_secs(1);

/// A transaction that is not committed within `timeout` is aborted, and with it output that a completed checkpoint lists.
/// The budget divides this time; the owner of each part enforces its limit:
///
/// ```text
/// 0                               1/2             3/4     7/8      1
/// ├─ may be listed by a checkpoint ┼── is stored ──┼─ late ┼ commit ┤
/// ```
///
/// - A writer lists a transaction only in its first half, and fails its task when an older one has to be listed.
/// - A checkpoint has [`Self::checkpoint_limit`], at most a quarter, from its trigger to the append to the journal.
/// - An append that was begun in time may take effect later: for another eighth the checkpoint counts. After that it is
///   withdrawn, before anything of it is committed.
/// - What is left, an eighth at least, is for the commits, or for a recovery that makes up for them.
///
/// A transaction begins when its writer has passed a barrier, so at the earliest when the checkpoint before was triggered.
/// The next one is triggered an interval later, or a pause after the first has ended, and the writer's part of it can take as
/// long as the whole checkpoint: `interval + pause + 2 × limit ≤ timeout / 2`. One checkpoint that has run into its limit can
/// be followed by another one that lists the same transactions; after a second one in a row the transactions are too old, and
/// the job is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionBudget {
    timeout: Duration,
}

impl TransactionBudget {
    /// The budget of transactions that are aborted after `timeout`.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { timeout }
    }

    /// A transaction that has been open for longer must not be listed.
    #[must_use]
    pub fn listed_within(self) -> Duration {
        self.timeout / 2
    }

    /// Maximum duration of a checkpoint, from its trigger to the append to the journal. `between`: interval and pause
    /// of checkpoints together.
    #[must_use]
    pub fn checkpoint_limit(self, between: Duration) -> Duration {
        self.listed_within().saturating_sub(between) / 2
    }

    /// Time after its limit in which a checkpoint still counts if its append took effect late.
    #[must_use]
    pub fn lateness_max(self) -> Duration {
        self.timeout / 8
    }

    /// Makes sure that checkpoints have time enough.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] with the sum that shows why not.
    pub fn check(self, between: Duration) -> Result<()> {
        if self.checkpoint_limit(between) >= CHECKPOINT_LIMIT_MIN {
            return Ok(());
        }
        let shown = |duration: Duration| format!("{duration:?}");
        Err(Error::new(
            ErrorKind::Settings,
            format!(
                "a transaction timeout of {} is too short: half of it must hold checkpoint_interval + checkpoint_min_pause \
                 and two checkpoints of at least {} each, but {} + 2 × {} > {}; the other half is for storing a checkpoint \
                 and for commits. Set the transaction timeout to at least {}, or checkpoint_interval + \
                 checkpoint_min_pause lower",
                shown(self.timeout),
                shown(CHECKPOINT_LIMIT_MIN),
                shown(between),
                shown(CHECKPOINT_LIMIT_MIN),
                shown(self.listed_within()),
                shown((between + CHECKPOINT_LIMIT_MIN * 2) * 2),
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The slowest course that the parts allow, with a fast checkpoint, a failed one and one that succeeds as well.
    #[test]
    fn what_a_checkpoint_lists_can_be_committed_in_time() {
        for (timeout, interval, pause) in [(900, 1, 0), (900, 300, 100), (60, 5, 5), (15, 1, 0), (10, 1, 1)] {
            let budget = TransactionBudget::new(seconds(timeout));
            let (interval, pause) = (seconds(interval), seconds(pause));
            let limit = budget.checkpoint_limit(interval + pause);
            budget.check(interval + pause).unwrap();
            // Begun with the trigger of a checkpoint that takes all its time, listed at the end of the next.
            let listed_at = interval.max(limit + pause) + limit;
            assert!(listed_at <= budget.listed_within(), "{timeout}: listed at {listed_at:?}");
            // Begun with a fast checkpoint; the next fails at its limit, the one after that is as fast.
            assert!(interval + limit + pause <= budget.listed_within());
            let counts_at = budget.listed_within() + limit + budget.lateness_max();
            let left = budget.timeout.checked_sub(counts_at).unwrap();
            assert!(left >= budget.timeout / 8, "{timeout}: {left:?} left to commit");
        }
    }

    #[test]
    fn settings_that_leave_checkpoints_no_time_are_refused_with_the_sum() {
        let budget = TransactionBudget::new(seconds(600));
        assert!(budget.check(seconds(298)).is_ok());
        for between in [seconds(299), seconds(600), seconds(7_000)] {
            let error = budget.check(between).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings);
        }
        let text = budget.check(seconds(601)).unwrap_err().to_string();
        assert!(text.contains("601s + 2 × 1s > 300s") && text.contains("at least 1206s"), "{text}");
    }
}
