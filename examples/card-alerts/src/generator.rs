use flott::prelude::*;

use crate::Payment;

/// Makes payments: the n-th depends on the seed and on `n` alone.
///
/// A payment is made every millisecond of event time and comes up to [`DISORDER_MS`](Self::DISORDER_MS) late. About one
/// payment in 650 completes the pattern that raises an alert.
///
/// ```
/// use card_alerts::PaymentGenerator;
///
/// let generator = PaymentGenerator::new(42);
/// assert_eq!(generator.payment(7), PaymentGenerator::new(42).payment(7));
/// assert_ne!(generator.payment(7), PaymentGenerator::new(43).payment(7));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PaymentGenerator {
    seed: u64,
}

impl PaymentGenerator {
    /// Number of cards.
    pub const CARDS: u64 = 100_000;
    /// Number of merchants.
    pub const MERCHANTS: u64 = 1_000;
    /// No payment comes after one that is later by so many milliseconds or more.
    pub const DISORDER_MS: i64 = 5_000;
    /// Event time of the first payment, if it were not late.
    pub const START: EventTime = EventTime(1_700_000_000_000);

    /// In ten thousand payments, so many are tiny.
    const TINY: u64 = 200;
    /// In ten thousand payments, so many are large.
    const LARGE: u64 = 1_400;

    /// A generator whose payments differ from those of another seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed: mix(seed) }
    }

    /// The n-th payment, counted from 0.
    #[must_use]
    pub fn payment(&self, n: u64) -> Payment {
        // Two draws of 64 bits are enough for all fields: the parts used of each do not overlap.
        let who = mix(self.seed ^ n);
        let what = mix(who);
        let delay_ms = below(what >> 48, Self::DISORDER_MS.cast_unsigned(), 16);
        Payment {
            id: n,
            card: below(who >> 32, Self::CARDS, 32),
            merchant: below(who & 0xffff_ffff, Self::MERCHANTS, 32),
            cents: cents(what & 0xffff_ffff),
            at: EventTime(Self::START.0.saturating_add_unsigned(n).saturating_sub_unsigned(delay_ms)),
        }
    }
}

/// Mostly everyday sums; some tiny, some large. `draw` has 32 bits.
fn cents(draw: u64) -> i64 {
    let (class, size) = (below(draw >> 16, 10_000, 16), draw & 0xffff);
    let cents = if class < PaymentGenerator::TINY {
        1 + below(size, 100, 16)
    } else if class < PaymentGenerator::TINY + PaymentGenerator::LARGE {
        50_000 + below(size, 150_000, 16)
    } else {
        101 + below(size, 49_899, 16)
    };
    cents.cast_signed()
}

/// Brings a draw of `bits` bits into `0..limit`.
fn below(draw: u64, limit: u64, bits: u32) -> u64 {
    (draw * limit) >> bits
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit of the number.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payments_are_in_range_and_less_disordered_than_promised() {
        let generator = PaymentGenerator::new(1);
        let mut latest = EventTime::MIN;
        let (mut tiny, mut large) = (0, 0);
        for n in 0..1_000_000 {
            let payment = generator.payment(n);
            assert_eq!(payment.id, n);
            assert!(payment.card < PaymentGenerator::CARDS && payment.merchant < PaymentGenerator::MERCHANTS);
            assert!((1..200_000).contains(&payment.cents));
            assert!(payment.at > latest - Duration::from_millis(5_000));
            latest = latest.max(payment.at);
            tiny += u64::from(payment.cents <= 100);
            large += u64::from(payment.cents >= 50_000);
        }
        assert!((18_000..22_000).contains(&tiny), "{tiny}");
        assert!((136_000..144_000).contains(&large), "{large}");
    }

    #[test]
    fn payments_are_frozen() {
        // Runs and figures that name a seed can be repeated later.
        let payment = PaymentGenerator::new(42).payment(1_000);
        let expected = Payment {
            id: 1_000,
            card: 66_471,
            merchant: 759,
            cents: 32_628,
            at: EventTime(1_699_999_998_337),
        };
        assert_eq!(payment, expected);
    }
}
