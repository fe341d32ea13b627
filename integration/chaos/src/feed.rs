//! Payments at a steady pace, on a thread of their own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use flott_cards::{
    Payment, PaymentGenerator,
    kafka::{Feeder, Topics},
};
use xtask::clock::{Stopwatch, pause};

use crate::error::{Error, Result};

const STEP: Duration = Duration::from_millis(5);

/// Payments that end the feed: so many that every partition gets one.
const SENTINELS: u64 = 100;
/// So long after the last payment is the sentinels' time: every window and timer before it fires.
const SENTINELS_LATER_MS: i64 = 24 * 60 * 60 * 1000;

/// A feed that is running.
pub(crate) struct Feed {
    is_over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<Result<Fed>>,
}

/// What was fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fed {
    /// Payments, sentinels included.
    pub(crate) records: u64,
    /// Windows from here on are still open.
    pub(crate) open_from: i64,
}

impl Feed {
    /// Begins to send so many payments a second.
    pub(crate) fn start(topics: &Topics, seed: u64, rate: u64) -> Result<Self> {
        let (is_over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut feeder = Feeder::new(topics.bootstrap(), topics.payments())?;
        let (is_asked, counter) = (Arc::clone(&is_over), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            let (generator, watch) = (PaymentGenerator::new(seed), Stopwatch::start());
            while !is_asked.load(Ordering::Relaxed) {
                let due =
                    watch.elapsed().as_millis().try_into().unwrap_or(u64::MAX).saturating_mul(rate) / 1_000;
                while feeder.sent() < due && !is_asked.load(Ordering::Relaxed) {
                    feeder.send(&generator.payment(feeder.sent()))?;
                    counter.store(feeder.sent(), Ordering::Relaxed);
                }
                pause(STEP);
            }
            let first = feeder.sent();
            for n in first..first + SENTINELS {
                feeder.send(&sentinel(&generator, first, n))?;
            }
            feeder.flush()?;
            counter.store(feeder.sent(), Ordering::Relaxed);
            let at = sentinel(&generator, first, first).at.as_millis();
            Ok(Fed { records: feeder.sent(), open_from: at - at.rem_euclid(60_000) })
        });
        Ok(Self { is_over, sent, thread })
    }

    /// Payments handed to the producer so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends the feed with sentinels and waits until all is delivered; the broker must be there.
    pub(crate) fn finish(self) -> Result<Fed> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Error::Refused("the feed has panicked".to_owned()))?
    }
}

/// A payment that neither arms a card nor raises an alert, of a card that has no other.
fn sentinel(generator: &PaymentGenerator, first: u64, n: u64) -> Payment {
    let mut payment = generator.payment(n);
    payment.card = PaymentGenerator::CARDS + n - first;
    payment.cents = 1_000;
    payment.at.0 = PaymentGenerator::START.as_millis() + first.cast_signed() + SENTINELS_LATER_MS;
    payment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentinels_come_long_after_all_payments_and_at_one_time() {
        let generator = PaymentGenerator::new(1);
        let sentinels: Vec<_> = (50..50 + SENTINELS).map(|n| sentinel(&generator, 50, n)).collect();
        assert!(
            sentinels
                .iter()
                .all(|payment| payment.at == sentinels[0].at && payment.card >= PaymentGenerator::CARDS)
        );
        assert!((0..50).all(|n| generator.payment(n).at.as_millis() + 60_000 < sentinels[0].at.as_millis()));
    }
}
