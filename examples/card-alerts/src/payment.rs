use flott::prelude::*;

/// A card payment, as it comes in: `{"id":1,"card":42,"merchant":7,"cents":1250,"at":1700000000000}`.
#[derive(Record, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Unique.
    pub id: u64,
    /// The card that pays.
    pub card: u64,
    /// Who is paid.
    pub merchant: u64,
    /// How much.
    pub cents: i64,
    /// When, in milliseconds since the epoch.
    #[record(event_time)]
    pub at: EventTime,
}
