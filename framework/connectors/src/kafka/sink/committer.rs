//! Commits transactions, one after the other, on a thread of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use flott_core::{Clock, Error, ErrorKind, Result, SystemClock};
use rdkafka::{error::KafkaError, producer::Producer};

use super::{
    lane::Lane,
    slots::{SLOTS_MAX, SlotIndex},
};
use crate::kafka::{background, failure::failure};

const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// After so long without an answer the task fails and the JobManager settles.
const PATIENCE: Duration = Duration::from_secs(120);

/// What background threads tell a writer.
pub(super) enum Event {
    Started(SlotIndex, Result<Arc<Lane>>),
    /// Committed; whether the first request was answered with success.
    Committed(SlotIndex, Result<bool>),
    /// The partitions of its transaction have been asked. `true`: all of them have its marker.
    Inspected(SlotIndex, bool),
}

struct Order {
    slot: SlotIndex,
    id: String,
    lane: Arc<Lane>,
}

/// A writer's commit thread. It is started with the first commit.
pub(super) struct Committer {
    orders: Option<SyncSender<Order>>,
    events: SyncSender<Event>,
    is_cancelled: Arc<AtomicBool>,
}

impl Committer {
    pub(super) fn new(events: SyncSender<Event>) -> Self {
        Self { orders: None, events, is_cancelled: Arc::default() }
    }

    pub(super) fn commit(&mut self, slot: SlotIndex, id: &str, lane: Arc<Lane>) -> Result<()> {
        let orders = self.orders.get_or_insert_with(|| {
            let (orders, received) = sync_channel(SLOTS_MAX);
            let (events, is_cancelled) = (self.events.clone(), Arc::clone(&self.is_cancelled));
            background::run("kafka-commit", move || work(&received, &events, &is_cancelled));
            orders
        });
        let order = Order { slot, id: id.into(), lane };
        orders.try_send(order).map_err(|_| Error::internal("there are more commits than slots"))
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.is_cancelled.store(true, Ordering::Release);
    }
}

fn work(orders: &Receiver<Order>, events: &SyncSender<Event>, is_cancelled: &AtomicBool) {
    while let Ok(order) = orders.recv() {
        let result = commit(&order, is_cancelled);
        if events.send(Event::Committed(order.slot, result)).is_err() {
            return;
        }
    }
}

fn commit(order: &Order, is_cancelled: &AtomicBool) -> Result<bool> {
    let started = SystemClock.now();
    let mut is_clean = true;
    loop {
        let error = match order.lane.client().commit_transaction(COMMIT_TIMEOUT) {
            Ok(()) => {
                order.lane.end();
                return Ok(is_clean);
            }
            Err(error) => error,
        };
        is_clean = false;
        let is_retriable = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
        let is_over = SystemClock.now().since(started) > PATIENCE || is_cancelled.load(Ordering::Acquire);
        if !is_retriable || is_over {
            let what = format!("cannot commit transaction {}", order.id);
            return Err(failure(what, &error).with_kind(ErrorKind::Transient));
        }
        tracing::warn!(transaction = %order.id, %error, "a commit is repeated");
        order.lane.client().poll(RETRY_PAUSE);
    }
}
