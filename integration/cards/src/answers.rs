use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// One of the job's three outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// A running total per payment.
    Totals,
    /// Large payments after tiny ones.
    Alerts,
    /// Merchants by the minute.
    MerchantMinutes,
}

impl Output {
    /// All outputs.
    pub const ALL: [Self; 3] = [Self::Totals, Self::Alerts, Self::MerchantMinutes];

    /// Name of its topic, without prefix, and of its directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Totals => "totals",
            Self::Alerts => "alerts",
            Self::MerchantMinutes => "merchant-minutes",
        }
    }
}

/// The n-th payment of a card, and the sum so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "named as in the output")]
pub struct Total {
    pub card: u64,
    pub n: u64,
    pub cents: i64,
}

impl Total {
    /// Bytes of its line in a file of an embedded run.
    #[must_use]
    pub fn line_bytes(&self) -> u64 {
        let digits = |number: u64| u64::from(number.checked_ilog10().unwrap_or(0)) + 1;
        let sign = u64::from(self.cents < 0);
        let names = "{\"card\":,\"n\":,\"cents\":}\n".len() as u64;
        names + digits(self.card) + digits(self.n) + sign + digits(self.cents.unsigned_abs())
    }
}

/// A large payment that followed a tiny one; cents and time are the large one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "named as in the output")]
pub struct Alert {
    pub card: u64,
    pub tiny: u64,
    pub large: u64,
    pub cents: i64,
    pub at: i64,
}

/// A merchant's payments of the minute that starts at `minute`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "named as in the output")]
pub struct MerchantMinute {
    pub merchant: u64,
    pub minute: i64,
    pub n: u64,
    pub cents: i64,
}

/// Answers of the job, or the right ones. Totals of one card are in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Records of `totals`.
    pub totals: Vec<Total>,
    /// Records of `alerts`.
    pub alerts: Vec<Alert>,
    /// Records of `merchant-minutes`.
    pub merchant_minutes: Vec<MerchantMinute>,
}

impl Answers {
    /// Reads one record of an output and returns the number that must be its Kafka key.
    ///
    /// # Errors
    /// When it is not the expected JSON.
    pub fn add(&mut self, output: Output, json: &[u8]) -> Result<u64> {
        let invalid = |error: serde_json::Error| {
            let text = String::from_utf8_lossy(json);
            Error::Unexpected(format!("not a record of {}: {text}: {error}", output.name()))
        };
        Ok(match output {
            Output::Totals => {
                let total: Total = serde_json::from_slice(json).map_err(invalid)?;
                self.totals.push(total);
                total.card
            }
            Output::Alerts => {
                let alert: Alert = serde_json::from_slice(json).map_err(invalid)?;
                self.alerts.push(alert);
                alert.card
            }
            Output::MerchantMinutes => {
                let minute: MerchantMinute = serde_json::from_slice(json).map_err(invalid)?;
                self.merchant_minutes.push(minute);
                minute.merchant
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_line_is_known() {
        for (card, n, cents) in [(0, 1, 5), (99_999, 10, -100), (1, 999, 1_000_000)] {
            let total = Total { card, n, cents };
            assert_eq!(total.line_bytes() as usize, serde_json::to_string(&total).unwrap().len() + 1);
        }
    }
}
