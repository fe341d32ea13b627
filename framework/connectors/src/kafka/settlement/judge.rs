//! The table of verdicts on one transaction whose commit did not succeed.

use serde::{Deserialize, Serialize};

use super::{Committable, EndAnswer, MarkerOwner, MarkerReading};
use crate::kafka::client::{KafkaCode, RecordFate, TransactionDescription};

/// Why a commit was not simply answered with success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The broker's answer to the commit.
    Answered(KafkaCode),
    /// The coordinator shows a later transaction of the same producer, so no commit was sent.
    Superseded,
}

impl Doubt {
    /// The broker's answer, if a commit was sent.
    pub(super) fn code(self) -> Option<KafkaCode> {
        match self {
            Self::Answered(code) => Some(code),
            Self::Superseded => None,
        }
    }
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Its marker, a later one of its id, or one of its records is committed.
    Committed,
    /// There was nothing in it.
    Empty,
    /// It was aborted.
    Lost(LossCause),
    /// Nothing tells. Readers may or may not see it.
    Unknown(LossCause),
    /// The marker does not tell: look its records up.
    NeedsEvidence,
}

/// How a transaction came to be lost, or in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LossCause {
    /// The broker aborted it when its timeout was over.
    TimedOut,
    /// Its own producer aborted it.
    Aborted,
    /// Another producer took the transactional id over.
    Fenced,
    /// The broker has forgotten the id, or gave it another producer id.
    Forgotten,
    /// The same producer has begun a later transaction.
    Superseded,
    /// The broker answered with this code.
    Code(KafkaCode),
}

/// What the witnesses say about one transaction in doubt. Markers must have been read after the fence.
pub(super) struct Witnesses<'a> {
    pub(super) doubt: Doubt,
    pub(super) seen: &'a [TransactionDescription],
    pub(super) marker: &'a MarkerReading,
    /// The fate of the first record of each partition that could be looked up.
    pub(super) records: Option<&'a [RecordFate]>,
}

impl Witnesses<'_> {
    /// The first witness that knows decides: marker, coordinator, records.
    pub(super) fn judge(&self, committable: &Committable, owner: &MarkerOwner) -> Judgement {
        let cause = self.cause(committable);
        if let MarkerReading::Found(marker) = self.marker
            && marker.owner == *owner
        {
            // A later marker of the same id: the slot was used again, which only a completed checkpoint allows that
            // no longer lists this transaction.
            return match marker.checkpoint >= committable.checkpoint_id {
                true => Judgement::Committed,
                false => Judgement::Lost(cause),
            };
        }
        if self.is_empty(committable) {
            return Judgement::Empty;
        }
        if self.seen.iter().any(|seen| committable.is_seen_aborted(seen)) {
            return Judgement::Lost(cause);
        }
        match self.records {
            Some(fates) => Self::judge_records(fates, cause),
            None if !committable.witnesses().is_empty() => Judgement::NeedsEvidence,
            None => Judgement::Unknown(cause),
        }
    }

    /// Any partition speaks for the whole transaction. If two contradict each other, a broker has left the end of the transaction
    /// out of one of them, and something else has ended it there: some of its records are lost.
    fn judge_records(fates: &[RecordFate], cause: LossCause) -> Judgement {
        match [RecordFate::Committed, RecordFate::Aborted].map(|fate| fates.contains(&fate)) {
            [true, false] => Judgement::Committed,
            [false, true] => Judgement::Lost(cause),
            [true, true] | [false, false] => Judgement::Unknown(cause),
        }
    }

    fn is_empty(&self, committable: &Committable) -> bool {
        let is_not_open =
            matches!(self.doubt, Doubt::Answered(code) if EndAnswer::of(code) == EndAnswer::NotOpen);
        is_not_open && committable.records.is_empty()
    }

    fn cause(&self, committable: &Committable) -> LossCause {
        let aborted = self.seen.iter().find(|seen| committable.is_seen_aborted(seen));
        match (aborted, self.doubt) {
            // Only the broker's timeout aborts with a new epoch and keeps the start time.
            (Some(seen), _) if seen.producer_epoch != committable.producer_epoch => LossCause::TimedOut,
            (Some(_), _) => LossCause::Aborted,
            (None, Doubt::Superseded) => LossCause::Superseded,
            (None, Doubt::Answered(code)) => match EndAnswer::of(code) {
                EndAnswer::NotOpen => LossCause::Aborted,
                EndAnswer::Fenced => LossCause::Fenced,
                EndAnswer::Forgotten => LossCause::Forgotten,
                _ => LossCause::Code(code),
            },
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
