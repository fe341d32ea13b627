//! The example job by hand, on one thread: messages are read in batches and sent one by one, state is in hash maps of
//! the standard library.

use std::collections::{BTreeMap, HashMap};

use card_alerts::{Payment, PaymentGenerator};
use flott_cards::{Alert, MerchantMinute, Output, Total};
use serde::Serialize;

use super::{
    kafka::{Transactions, consumer},
    native::{BatchConsumer, Message},
};
use crate::{
    error::Result,
    kafka::{PARTITIONS, Route},
};

const MINUTE_MS: i64 = 60_000;
const TINY_CENTS: i64 = 100;
const LARGE_CENTS: i64 = 50_000;

/// What is known of a card.
#[derive(Default)]
struct Card {
    n: u64,
    cents: i64,
    /// Id and time of the tiny payment.
    armed: Option<(u64, i64)>,
}

struct Job<'a> {
    transactions: Transactions<'a>,
    topics: [String; 3],
    cards: HashMap<u64, Card>,
    /// By start of the minute, then by merchant: number and cents.
    minutes: BTreeMap<i64, HashMap<u64, (u64, i64)>>,
    /// The latest payment of each partition.
    latest: Vec<i64>,
    json: Vec<u8>,
}

pub(super) fn run(route: &Route, records: u64) -> Result<()> {
    let committer = consumer(route)?;
    let transactions = Transactions::begin(route, &committer)?;
    let mut consumer = BatchConsumer::new(consumer(route)?, &route.input, PARTITIONS);
    let mut job = Job {
        transactions,
        topics: Output::ALL.map(|output| format!("{}{}", route.output, output.name())),
        cards: HashMap::new(),
        minutes: BTreeMap::new(),
        latest: vec![i64::MIN; usize::try_from(PARTITIONS).unwrap_or_default()],
        json: Vec::new(),
    };
    while job.transactions.read < records {
        consumer.consume(|message| job.take(&message))?;
        let watermark = job.latest.iter().min().copied().unwrap_or(i64::MIN);
        job.fire(watermark.saturating_sub(PaymentGenerator::DISORDER_MS + 1))?;
        job.transactions.commit_in_time(false)?;
    }
    job.fire(i64::MAX)?;
    job.transactions.commit_in_time(true)
}

impl Job<'_> {
    fn take(&mut self, message: &Message<'_>) -> Result<()> {
        self.transactions.note(message.partition, message.offset);
        let payment: Payment = serde_json::from_slice(message.payload)?;
        let Payment { id, card, merchant, cents, at } = payment;
        let at = at.0;
        let latest = &mut self.latest[usize::try_from(message.partition).unwrap_or_default()];
        *latest = at.max(*latest);

        let state = self.cards.entry(card).or_default();
        state.n += 1;
        state.cents += cents;
        let total = Total { card, n: state.n, cents: state.cents };
        let mut alert = None;
        if cents <= TINY_CENTS {
            state.armed = Some((id, at));
        } else if cents >= LARGE_CENTS
            && let Some((tiny, armed_at)) = state.armed
            && at < armed_at + MINUTE_MS
        {
            alert = Some(Alert { card, tiny, large: id, cents, at });
            state.armed = None;
        }
        let minute = self.minutes.entry(at - at.rem_euclid(MINUTE_MS)).or_default();
        let sum = minute.entry(merchant).or_default();
        sum.0 += 1;
        sum.1 += cents;
        self.send(0, card, &total)?;
        alert.map_or(Ok(()), |alert| self.send(1, card, &alert))
    }

    fn fire(&mut self, watermark: i64) -> Result<()> {
        while let Some(first) = self.minutes.first_entry()
            && first.key() + MINUTE_MS - 1 <= watermark
        {
            let (minute, sums) = first.remove_entry();
            for (merchant, (n, cents)) in sums {
                self.send(2, merchant, &MerchantMinute { merchant, minute, n, cents })?;
            }
        }
        Ok(())
    }

    fn send(&mut self, topic: usize, key: u64, answer: &impl Serialize) -> Result<()> {
        self.json.clear();
        serde_json::to_writer(&mut self.json, answer)?;
        self.transactions.send(&self.topics[topic], Some(&key.to_string()), &self.json)
    }
}
