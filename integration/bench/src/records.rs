//! The records of the workloads: the n-th depends on `n` alone.

use card_alerts::Payment;
use flott::prelude::*;

/// Distinct keys of the keyed sum.
pub(crate) const KEYS: u64 = 1_000_000;

/// Size of a window, in milliseconds of event time.
pub(crate) const WINDOW_MS: u64 = 10_000;

/// Bids per millisecond of event time.
const BIDS_PER_MS: u64 = 100;

/// The finaliser of SplitMix64.
#[inline]
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

/// The map of the stateless workload.
#[inline]
pub(crate) fn scramble(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (n >> 7)
}

/// The filter of the stateless workload: three of four pass.
#[inline]
pub(crate) fn passes(n: u64) -> bool {
    n & 3 != 0
}

/// A uniformly distributed key, and a number to add. All numbers are one, so that the sum of all running sums does not
/// depend on the order in which the records of a key arrive.
#[inline]
pub(crate) fn addend(n: u64) -> (u64, u64) {
    (((mix(n) >> 32) * KEYS) >> 32, 1)
}

/// What is done to a payment between two topics.
#[inline]
pub(crate) fn changed(payment: Payment) -> Payment {
    Payment { cents: payment.cents + 1, ..payment }
}

/// A bid at an auction, as in Nexmark, cut to 32 bytes.
#[derive(Record, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bid {
    /// What is bid for.
    pub(crate) auction: u64,
    /// Who bids.
    pub(crate) bidder: u64,
    /// How much.
    pub(crate) price: u64,
    /// When.
    #[record(event_time)]
    pub(crate) time: EventTime,
}

/// Half of the bids are for the auction that is hot, the others for one of the hundred newest. The newest auction moves
/// by three per fifty bids.
#[inline]
pub(crate) fn bid(n: u64) -> Bid {
    let draw = mix(n);
    let newest = 1_000 + n * 3 / 50;
    let auction = if draw & 1 == 0 { newest / 100 * 100 } else { newest - (draw >> 8) % 100 };
    #[expect(clippy::cast_possible_wrap, reason = "event time ends long before")]
    let time = EventTime((n / BIDS_PER_MS) as i64);
    Bid { auction, bidder: draw >> 40, price: draw & 0xFFFF, time }
}

/// What the windowed count gives for a window and key, as a number.
#[inline]
pub(crate) fn window_checksum(auction: u64, window_ms: u64, count: u64) -> u64 {
    mix(auction ^ window_ms.rotate_left(32)).wrapping_mul(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_distributed_as_described() {
        let count = 1_000_000;
        assert!((0..count).filter(|n| passes(scramble(*n))).count().abs_diff(750_000) < 5_000);
        assert!((0..count).all(|n| addend(n).0 < KEYS));
        let mut seen: Vec<u64> = (0..count).map(|n| bid(n).auction).collect();
        assert_eq!(bid(count).time.0 - bid(0).time.0, 10_000);
        seen.sort_unstable();
        seen.dedup();
        assert!((55_000..61_000).contains(&seen.len()), "{}", seen.len());
    }
}
