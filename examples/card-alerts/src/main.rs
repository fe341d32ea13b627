//! Watches card payments: running totals of each card, alerts, and merchants by the minute.
//!
//! Start reading at `main`: it declares the whole job.
#![forbid(unsafe_code)]

mod answers;
mod params;
mod transport;

use answers::{Alert, MerchantMinute, Total};
use card_alerts::{Payment, PaymentGenerator};
use flott::prelude::*;
use params::Params;
use transport::{deliver, payments};

/// How long a tiny payment keeps its card armed.
const ARMED: Duration = Duration::from_secs(60);

/// Counts and adds up the payments of each card, raises an alert when a large payment follows a tiny one on the same
/// card within a minute, and adds up the payments to each merchant minute by minute.
#[flott::main]
fn main(job: &mut Job, params: Params) -> Result<()> {
    let disorder = Duration::from_millis(PaymentGenerator::DISORDER_MS.unsigned_abs());
    let payments = payments(job, &params).watermarks(Watermarks::bounded(disorder));

    let totals = payments
        .clone()
        .map(|payment| Total { card: payment.card, n: 1, cents: payment.cents })
        .key_by(|total| total.card)
        .reduce("card-totals", |total, next| {
            total.n += next.n;
            total.cents += next.cents;
        });

    let alerts = payments
        .clone()
        .key_by(|payment| payment.card)
        .process("small-then-large", SmallThenLarge::new(params.tiny_cents, params.large_cents));

    let minutes = payments
        .key_by(|payment| payment.merchant)
        .window(TumblingWindows::of(Duration::from_secs(60)))
        .aggregate("minutes-of-merchants", Minutes);

    deliver(totals, "totals", |total| total.card, &params);
    deliver(alerts, "alerts", |alert| alert.card, &params);
    deliver(minutes, "merchant-minutes", |minute| minute.merchant, &params);
    Ok(())
}

/// Raises an alert when a large payment follows a tiny one on the same card within a minute.
///
/// The watermark never decides whether there is an alert: a payment that comes less than a minute after the tiny one
/// also comes before the watermark that disarms the card. The timer only frees the card's state.
#[derive(Operator)]
struct SmallThenLarge {
    #[state]
    armed: ValueState<Armed>,
    #[timer]
    disarm: EventTimer,
    tiny_cents: i64,
    large_cents: i64,
}

/// The tiny payment that a card was armed by.
#[derive(Record)]
struct Armed {
    tiny: u64,
    until: EventTime,
}

#[operator]
impl SmallThenLarge {
    fn process(&mut self, payment: Payment, out: &mut Output<Alert>) {
        let Payment { id, card, cents, at, .. } = payment;
        if cents <= self.tiny_cents {
            self.forget();
            self.disarm.set(at + ARMED);
            self.armed.set(Armed { tiny: id, until: at + ARMED });
        } else if cents >= self.large_cents
            && let Some(&Armed { tiny, until }) = self.armed.get()
            && at < until
        {
            out.emit(Alert { card, tiny, large: id, cents, at });
            self.forget();
        }
    }

    fn on_disarm(&mut self) {
        self.armed.clear();
    }

    fn forget(&mut self) {
        if let Some(&Armed { until, .. }) = self.armed.get() {
            self.disarm.delete(until);
            self.armed.clear();
        }
    }
}

/// Counts and adds up a merchant's payments of one window.
#[derive(Clone)]
struct Minutes;

impl Aggregate<u64, Payment> for Minutes {
    type Accumulator = (u64, i64);
    type Out = MerchantMinute;

    fn create(&self) -> (u64, i64) {
        (0, 0)
    }

    fn add(&self, (n, cents): &mut (u64, i64), payment: &Payment) {
        *n += 1;
        *cents += payment.cents;
    }

    fn finish(&self, merchant: &u64, minute: Window, (n, cents): (u64, i64)) -> MerchantMinute {
        MerchantMinute { merchant: *merchant, minute: minute.start, n, cents }
    }
}
