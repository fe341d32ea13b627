//! The right answers, computed in one plain loop.
//!
//! Why they depend on the input alone. Totals follow the order of arrival of a card's payments, and a card is in one
//! partition. Windows are complete when they fire, because no payment is so late as to come after the watermark. Alerts
//! need a thought: the job disarms a card by an event-time timer one minute after the tiny payment, and when the
//! watermark gets there depends on the run. But a payment with `at` < armed time + 60 s, not being late, comes while the
//! watermark is below its `at`, thus before the timer has fired; and a payment with a later `at` neither raises an alert
//! nor changes anything, whether the timer has fired or not. So the timer decides nothing, and is left out here.

use std::collections::BTreeMap;

use card_alerts::Payment;
use rustc_hash::FxHashMap;

use crate::{
    answers::{Alert, Answers, MerchantMinute, Total},
    error::{Error, Result},
};

const MINUTE_MS: i64 = 60_000;

/// The job's parameters that change its answers.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// A payment of at most so many cents arms its card.
    pub tiny_cents: i64,
    /// A payment of at least so many cents raises an alert on an armed card.
    pub large_cents: i64,
    /// No payment may come this long after a later one, or longer.
    pub disorder_ms: i64,
}

impl Default for Rule {
    fn default() -> Self {
        Self { tiny_cents: 100, large_cents: 50_000, disorder_ms: 5_000 }
    }
}

/// Computes the right answers from the payments in order of arrival.
#[derive(Debug, Default)]
pub struct Reference {
    rule: Rule,
    latest_by_partition: BTreeMap<i32, i64>,
    cards: FxHashMap<u64, Card>,
    minutes: FxHashMap<(u64, i64), (u64, i64)>,
    answers: Answers,
}

#[derive(Debug, Default)]
struct Card {
    n: u64,
    cents: i64,
    /// Id and time of the tiny payment.
    armed: Option<(u64, i64)>,
}

impl Reference {
    /// A computation that has seen nothing yet.
    #[must_use]
    pub fn new(rule: Rule) -> Self {
        Self { rule, ..Self::default() }
    }

    /// The right answers to payments of one partition.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn answers_to(rule: Rule, payments: impl IntoIterator<Item = Payment>) -> Result<Answers> {
        let mut reference = Self::new(rule);
        for payment in payments {
            reference.add(0, &payment)?;
        }
        Ok(reference.finish())
    }

    /// Takes the next payment of a partition.
    ///
    /// # Errors
    /// When payments are so disordered that the answers depend on more than the input.
    pub fn add(&mut self, partition: i32, payment: &Payment) -> Result<()> {
        let Payment { id, card, merchant, cents, .. } = *payment;
        let at = payment.at.as_millis();
        let latest = self.latest_by_partition.entry(partition).or_insert(at);
        *latest = at.max(*latest);
        if *latest - at >= self.rule.disorder_ms {
            let late_ms = *latest - at;
            return Err(Error::Unexpected(format!(
                "payment {id} in partition {partition} comes {late_ms} ms late"
            )));
        }

        let state = self.cards.entry(card).or_default();
        state.n += 1;
        state.cents += cents;
        self.answers.totals.push(Total { card, n: state.n, cents: state.cents });

        if cents <= self.rule.tiny_cents {
            state.armed = Some((id, at));
        } else if cents >= self.rule.large_cents
            && let Some((tiny, armed_at)) = state.armed
            && at < armed_at + MINUTE_MS
        {
            self.answers.alerts.push(Alert { card, tiny, large: id, cents, at });
            state.armed = None;
        }

        let minute = at - at.rem_euclid(MINUTE_MS);
        let sum = self.minutes.entry((merchant, minute)).or_default();
        sum.0 += 1;
        sum.1 += cents;
        Ok(())
    }

    /// The answers, given that no more payments come.
    #[must_use]
    pub fn finish(mut self) -> Answers {
        let minutes = self.minutes.into_iter();
        let minutes =
            minutes.map(|((merchant, minute), (n, cents))| MerchantMinute { merchant, minute, n, cents });
        self.answers.merchant_minutes = minutes.collect();
        self.answers.merchant_minutes.sort_unstable_by_key(|minute| (minute.minute, minute.merchant));
        self.answers
    }
}

#[cfg(test)]
mod tests {
    use card_alerts::PaymentGenerator;

    use super::*;

    const TINY: i64 = 100;
    const LARGE: i64 = 50_000;

    fn payment(id: u64, cents: i64, at: i64) -> Payment {
        let mut payment = PaymentGenerator::new(0).payment(id);
        (payment.card, payment.merchant, payment.cents) = (1, 2, cents);
        payment.at.0 = at;
        payment
    }

    fn alerts(payments: &[(i64, i64)]) -> Vec<(u64, u64)> {
        let payments = (0..).zip(payments).map(|(id, &(cents, at))| payment(id, cents, at));
        let answers = Reference::answers_to(Rule::default(), payments).unwrap();
        answers.alerts.iter().map(|alert| (alert.tiny, alert.large)).collect()
    }

    #[test]
    fn a_large_payment_within_a_minute_of_a_tiny_one_raises_one_alert() {
        assert_eq!(alerts(&[(TINY, 0), (LARGE, 59_999)]), [(0, 1)]);
        assert_eq!(alerts(&[(TINY, 0), (LARGE, 60_000)]), []);
        assert_eq!(alerts(&[(TINY + 1, 0), (LARGE, 1)]), []);
        assert_eq!(alerts(&[(TINY, 0), (LARGE - 1, 1)]), []);
        assert_eq!(alerts(&[(TINY, 0), (LARGE, 1), (LARGE, 2)]), [(0, 1)]);
    }

    #[test]
    fn arming_again_replaces_even_by_an_earlier_time() {
        assert_eq!(alerts(&[(TINY, 0), (TINY, 50_000), (LARGE, 100_000)]), [(1, 2)]);
        assert_eq!(alerts(&[(TINY, 4_000), (TINY, 0), (LARGE, 60_500)]), []);
    }

    #[test]
    fn a_large_payment_that_is_too_late_does_not_disarm() {
        assert_eq!(alerts(&[(TINY, 0), (LARGE, 61_000), (LARGE, 59_000)]), [(0, 2)]);
    }

    #[test]
    fn totals_count_up_and_minutes_add_up() {
        let payments = [payment(0, 5, 59_999), payment(1, 7, 60_000), payment(2, 1, 59_000)];
        let answers = Reference::answers_to(Rule::default(), payments).unwrap();
        let totals: Vec<_> = answers.totals.iter().map(|total| (total.n, total.cents)).collect();
        assert_eq!(totals, [(1, 5), (2, 12), (3, 13)]);
        let minutes: Vec<_> = answers.merchant_minutes.iter().map(|m| (m.minute, m.n, m.cents)).collect();
        assert_eq!(minutes, [(0, 2, 6), (60_000, 1, 7)]);
    }

    #[test]
    fn too_much_disorder_is_an_error() {
        assert!(Reference::answers_to(Rule::default(), [payment(0, 5, 5_000), payment(1, 5, 0)]).is_err());
        assert!(Reference::answers_to(Rule::default(), [payment(0, 5, 5_000), payment(1, 5, 1)]).is_ok());
    }

    #[test]
    fn about_one_generated_payment_in_650_raises_an_alert() {
        let generator = PaymentGenerator::new(1);
        let answers =
            Reference::answers_to(Rule::default(), (0..500_000).map(|n| generator.payment(n))).unwrap();
        assert!((650..850).contains(&answers.alerts.len()), "{}", answers.alerts.len());
    }
}
