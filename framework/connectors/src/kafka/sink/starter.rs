//! Makes transactional producers ahead of need, each on a thread of its own.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    time::Duration,
};

use flott_core::{Clock, Error, MonotonicTime, Result, SubtaskIndex, SystemClock};
use rdkafka::{error::KafkaError, producer::Producer};

use super::{committer::Event, lane::Lane, settings::SinkSettings, slots::SlotIndex};
use crate::kafka::{
    background, blocking::BlockingClient, client::KafkaClient, failure::failure, settlement::TransactionalIds,
};

/// One attempt to reach a broker; short, so that the threads of a writer that is dropped end soon.
const INIT_TIMEOUT: Duration = Duration::from_secs(1);
const INIT_PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Starter {
    shared: Arc<Shared>,
    events: SyncSender<Event>,
}

struct Shared {
    settings: SinkSettings,
    ids: TransactionalIds,
    subtask: SubtaskIndex,
    client: Arc<BlockingClient>,
    timeout: OnceLock<Duration>,
    is_cancelled: AtomicBool,
}

impl Starter {
    pub(super) fn new(
        settings: SinkSettings,
        ids: TransactionalIds,
        subtask: SubtaskIndex,
        client: Arc<BlockingClient>,
        events: SyncSender<Event>,
    ) -> Self {
        let timeout = settings.transaction_timeout.map_or_else(OnceLock::new, OnceLock::from);
        let shared = Shared { settings, ids, subtask, client, timeout, is_cancelled: AtomicBool::new(false) };
        Self { shared: Arc::new(shared), events }
    }

    /// The transactional id of a slot.
    pub(super) fn id(&self, slot: SlotIndex) -> String {
        self.shared.id(slot)
    }

    /// After how long the broker aborts a transaction. Known at once when an instance was made.
    pub(super) fn timeout(&self) -> Result<Duration> {
        self.shared.timeout()
    }

    /// Makes an instance and lets it take its id over; tells the writer by an event.
    pub(super) fn start(&self, slot: SlotIndex) {
        let (shared, events) = (Arc::clone(&self.shared), self.events.clone());
        background::run("kafka-init", move || {
            let result = shared.start(slot);
            // The writer may be gone.
            let _ = events.send(Event::Started(slot, result.map(Arc::new)));
        });
    }
}

impl Drop for Starter {
    /// An instance that takes its id over after this shuts nobody out: the next attempt has another generation, and with it
    /// other ids. The JobManager sweeps what the instance leaves behind.
    fn drop(&mut self) {
        self.shared.is_cancelled.store(true, Ordering::Release);
    }
}

impl Shared {
    fn id(&self, slot: SlotIndex) -> String {
        self.ids.name(self.subtask, u32::try_from(slot).expect("slots are few"))
    }

    fn start(&self, slot: SlotIndex) -> Result<Lane> {
        let id = self.id(slot);
        let config = self.settings.transactional_config(&id, self.timeout()?)?;
        let lane = Lane::new(&self.settings, &config)?;
        let started = SystemClock.now();
        loop {
            let Err(error) = lane.client().init_transactions(INIT_TIMEOUT) else { break };
            let is_retriable = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
            if !is_retriable || self.is_over(started) {
                return Err(failure(format!("cannot begin to use transactional id {id}"), &error));
            }
            lane.client().poll(Duration::from_millis(10));
        }
        // From now on, requests of the producer succeed only while it has this identity.
        let seen = self.ask_patiently(started, async |client| client.describe_transaction(&id).await)?;
        let seen = seen.ok_or_else(|| {
            Error::transient(format!("the coordinator of transactional id {id} does not know it"))
        })?;
        lane.set_identity(seen.producer());
        Ok(lane)
    }

    fn is_over(&self, started: MonotonicTime) -> bool {
        SystemClock.now().since(started) > INIT_PATIENCE || self.is_cancelled.load(Ordering::Acquire)
    }

    /// Asks until there is an answer, or nobody waits for it any more.
    fn ask_patiently<T>(
        &self,
        started: MonotonicTime,
        ask: impl AsyncFn(&KafkaClient) -> Result<T>,
    ) -> Result<T> {
        loop {
            match self.client.ask(async |client| ask(&client.with_patience(INIT_TIMEOUT)).await) {
                Err(error) if error.kind().is_restartable() && !self.is_over(started) => {}
                answer => return answer,
            }
        }
    }

    /// The transaction timeout: as set, else the longest that the broker allows.
    fn timeout(&self) -> Result<Duration> {
        if let Some(timeout) = self.timeout.get() {
            return Ok(*timeout);
        }
        let ask = async |client: &KafkaClient| client.transaction_timeout_max().await;
        let allowed = self.ask_patiently(SystemClock.now(), ask)?;
        Ok(*self.timeout.get_or_init(|| self.settings.effective_transaction_timeout(allowed)))
    }
}
