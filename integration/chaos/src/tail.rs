//! Follows the totals as a `read_committed` reader sees them, and notices at once what is missing or repeated.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use flott_cards::{Answers, Output, kafka::Topics};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use rustc_hash::FxHashMap;

use crate::error::{Error, Result};

const POLL: Duration = Duration::from_millis(100);

/// A reader on a thread of its own.
pub(crate) struct Tail {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    is_over: AtomicBool,
    records: AtomicU64,
    faults: AtomicU64,
}

impl Tail {
    /// Begins to read.
    pub(crate) fn start(topics: &Topics, partitions: i32) -> Result<Self> {
        let refused = |error| Error::Refused(format!("cannot follow the totals: {error}"));
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", topics.bootstrap())
            .set("group.id", "flott-chaos-tail")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("reconnect.backoff.max.ms", "500")
            .create()
            .map_err(refused)?;
        let mut start = TopicPartitionList::new();
        for partition in 0..partitions {
            start
                .add_partition_offset(&topics.output(Output::Totals), partition, Offset::Beginning)
                .map_err(refused)?;
        }
        consumer.assign(&start).map_err(refused)?;
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let thread = thread::spawn(move || follow(&consumer, &shared));
        Ok(Self { seen, thread: Some(thread) })
    }

    /// Committed totals so far.
    pub(crate) fn records(&self) -> u64 {
        self.seen.records.load(Ordering::Relaxed)
    }

    /// Totals that did not follow the one before of their card.
    pub(crate) fn faults(&self) -> u64 {
        self.seen.faults.load(Ordering::Relaxed)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.seen.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn follow(consumer: &BaseConsumer, seen: &Seen) {
    let mut last: FxHashMap<u64, u64> = FxHashMap::default();
    while !seen.is_over.load(Ordering::Relaxed) {
        // A broker that is away comes back; librdkafka goes on by itself.
        let Some(Ok(message)) = consumer.poll(POLL) else { continue };
        let mut answers = Answers::default();
        let added = answers.add(Output::Totals, message.payload().unwrap_or_default());
        let is_right = match (added, answers.totals.first()) {
            (Ok(_), Some(total)) => last.insert(total.card, total.n).unwrap_or(0) + 1 == total.n,
            _ => false,
        };
        seen.records.fetch_add(1, Ordering::Relaxed);
        seen.faults.fetch_add(u64::from(!is_right), Ordering::Relaxed);
    }
}
