//! The table of what a broker answers to a commit of somebody else's transaction, and what that means.

use crate::kafka::client::KafkaCode;

/// What an answer to EndTxn(commit), version 4 or lower, says about the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndAnswer {
    /// Committed, now or before.
    Committed,
    /// Not answered yet: find the coordinator again, or wait; then repeat.
    Repeat,
    /// Nothing is open under this producer: it was aborted by its own producer, or nothing was ever written.
    NotOpen,
    /// Another producer has taken the id over since. Before that the transaction was committed or aborted; the
    /// answer does not say which.
    Fenced,
    /// The broker no longer knows the pair of ids; it does not say what became of the transaction.
    Forgotten,
    /// This user may not.
    Refused,
    /// A code that this table does not know. It proves nothing, least of all a loss.
    Unclear,
}

impl EndAnswer {
    /// Reads the table.
    #[must_use]
    pub fn of(code: KafkaCode) -> Self {
        match code {
            KafkaCode::NONE => Self::Committed,
            KafkaCode::CONCURRENT_TRANSACTIONS | KafkaCode::REQUEST_TIMED_OUT => Self::Repeat,
            code if code.is_coordinator_move() => Self::Repeat,
            KafkaCode::INVALID_TXN_STATE => Self::NotOpen,
            KafkaCode::PRODUCER_FENCED | KafkaCode::INVALID_PRODUCER_EPOCH => Self::Fenced,
            KafkaCode::INVALID_PRODUCER_ID_MAPPING => Self::Forgotten,
            KafkaCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED => Self::Refused,
            _ => Self::Unclear,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table() {
        for (code, meaning) in [
            (0, EndAnswer::Committed),
            (51, EndAnswer::Repeat),
            (14, EndAnswer::Repeat),
            (15, EndAnswer::Repeat),
            (16, EndAnswer::Repeat),
            (7, EndAnswer::Repeat),
            (48, EndAnswer::NotOpen),
            (90, EndAnswer::Fenced),
            (47, EndAnswer::Fenced),
            (49, EndAnswer::Forgotten),
            (53, EndAnswer::Refused),
            (-1, EndAnswer::Unclear),
            (42, EndAnswer::Unclear),
            (999, EndAnswer::Unclear),
        ] {
            assert_eq!(EndAnswer::of(KafkaCode(code)), meaning, "code {code}");
        }
    }
}
