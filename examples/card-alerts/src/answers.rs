//! What the job answers.

use flott::prelude::*;

/// A card's payments so far. There is one answer to each payment, so `n` counts up without a gap.
#[derive(Record, Serialize)]
pub(crate) struct Total {
    pub(crate) card: u64,
    pub(crate) n: u64,
    pub(crate) cents: i64,
}

/// A large payment followed a tiny one.
#[derive(Record, Serialize)]
pub(crate) struct Alert {
    pub(crate) card: u64,
    /// Id of the tiny payment.
    pub(crate) tiny: u64,
    /// Id of the large payment.
    pub(crate) large: u64,
    /// Of the large payment.
    pub(crate) cents: i64,
    /// Of the large payment.
    pub(crate) at: EventTime,
}

/// A merchant's payments of one minute.
#[derive(Record, Serialize)]
pub(crate) struct MerchantMinute {
    pub(crate) merchant: u64,
    /// When the minute starts.
    pub(crate) minute: EventTime,
    pub(crate) n: u64,
    pub(crate) cents: i64,
}
