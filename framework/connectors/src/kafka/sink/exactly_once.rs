//! The writer with transactions. [`Slots`] decides, this carries out.

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};

use flott_core::{
    Batch, CheckpointId, Error, Generation, MonotonicTime, Record, Result, TransactionBudget,
    operator::{Readiness, StepTime},
    sink::{SinkWriter, WriterContext},
    snapshot::WriteList,
};

use super::{
    committer::{Committer, Event},
    flush::{Flush, FlushGuard},
    inspector::Inspector,
    lane::Lane,
    outbox::Outbox,
    serializer::Serializer,
    settings::{SinkSettings, owner},
    slots::{Action, SLOTS_MAX, SlotIndex, Slots},
    starter::Starter,
    transaction::{Doom, Transaction},
};
use crate::kafka::{
    background,
    blocking::BlockingClient,
    settlement::{MarkerOwner, TransactionalIds},
};
#[cfg(feature = "ablation")]
use flott_core::ablation::Step;

/// Maximum time that records wait for a producer. To make or to commit one takes less: those who fail to do so say why.
const PRODUCER_PATIENCE: Duration = Duration::from_secs(180);

/// Maximum time that a writer, all of whose producers wait for a checkpoint, waits for the one that may be under way.
const STUCK_PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct ExactlyOnceWriter<T> {
    settings: SinkSettings,
    serializer: Serializer<T>,
    generation: Generation,
    owner: MarkerOwner,
    outbox: Outbox,
    slots: Slots,
    actions: Vec<Action>,
    lanes: Vec<Option<Arc<Lane>>>,
    /// By slot: its last transaction that a barrier has closed.
    transactions: Vec<Option<Arc<Transaction>>>,
    /// The last barrier's flush: what follows waits for it.
    flush: Option<Arc<Flush>>,
    client: Arc<BlockingClient>,
    events: Receiver<Event>,
    starter: Starter,
    committer: Committer,
    inspector: Inspector,
    doom: Arc<Doom>,
    /// The time since which records wait for a producer.
    waiting_since: Option<MonotonicTime>,
    /// The time since which these records can get one only by a completed checkpoint.
    stuck_since: Option<MonotonicTime>,
    /// The time when it was last advanced.
    now: MonotonicTime,
}

impl<T: Record> ExactlyOnceWriter<T> {
    pub(super) fn new(
        settings: &SinkSettings,
        prefix: &str,
        serializer: Serializer<T>,
        context: &WriterContext,
    ) -> Result<Self> {
        let slots_max = u32::try_from(SLOTS_MAX).expect("slots are few");
        let (uid, generation) = (context.uid.clone(), context.generation);
        let ids = TransactionalIds::new(prefix, uid, generation, context.parallelism, slots_max)?;
        let client = Arc::new(BlockingClient::new(&settings.properties)?);
        // At most one event per slot is under way, and one of an inspection.
        let (sender, events) = sync_channel(2 * SLOTS_MAX);
        let starter =
            Starter::new(settings.clone(), ids, context.subtask, Arc::clone(&client), sender.clone());
        let mut writer = Self {
            settings: settings.clone(),
            serializer,
            generation,
            owner: owner(&context.job),
            outbox: Outbox::default(),
            slots: Slots::default(),
            actions: Vec::new(),
            lanes: vec![None; SLOTS_MAX],
            transactions: vec![None; SLOTS_MAX],
            flush: None,
            client: Arc::clone(&client),
            events,
            starter,
            inspector: Inspector::new(Arc::clone(&client), sender.clone()),
            committer: Committer::new(sender),
            doom: Arc::default(),
            waiting_since: None,
            stuck_since: None,
            now: MonotonicTime::ZERO,
        };
        #[cfg(feature = "ablation")]
        {
            writer.slots.skip_quarantine = Step::Quarantine.is_left_out();
        }
        writer.slots.start(&mut writer.actions);
        writer.act()?;
        Ok(writer)
    }

    fn act(&mut self) -> Result<()> {
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Start(slot) => self.starter.start(slot),
                Action::Commit(slot) => {
                    let lane = self.lane(slot)?;
                    self.committer.commit(slot, &self.starter.id(slot), lane)?;
                }
                Action::Inspect(slot) => {
                    // Gone with the transaction is its hold on the lane.
                    let transaction = self.transactions[slot].take();
                    let committable = transaction.and_then(|transaction| transaction.committable());
                    let committable = committable
                        .ok_or_else(|| Error::internal("a committed transaction was never sealed"))?;
                    self.inspector.inspect(slot, committable);
                }
                Action::Retire(slot) => {
                    let retired = self.lanes[slot].take();
                    background::run("kafka-close", move || drop(retired));
                }
            }
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Started(slot, lane) => {
                self.lanes[slot] = Some(lane?);
                self.slots.on_started(slot);
            }
            Event::Committed(slot, result) => {
                let is_clean = result?;
                self.slots.on_committed(slot, is_clean, self.now, &mut self.actions);
            }
            Event::Inspected(slot, is_closed) => self.slots.on_inspected(slot, is_closed, &mut self.actions),
        }
        self.act()
    }

    fn take_events(&mut self) -> Result<()> {
        self.doom.check()?;
        while let Ok(event) = self.events.try_recv() {
            self.on_event(event)?;
        }
        Ok(())
    }

    fn lane(&self, slot: SlotIndex) -> Result<Arc<Lane>> {
        self.lanes[slot].clone().ok_or_else(|| Error::internal("a slot in use has no producer"))
    }

    fn open(&mut self) -> Result<Option<SlotIndex>> {
        let slot = self.slots.open(&mut self.actions);
        self.act()?;
        Ok(slot)
    }

    /// Gives waiting records to the open producer.
    fn pump(&mut self) -> Result<()> {
        self.take_events()?;
        // Also while an earlier flush is under way: from now on there is something for the next checkpoint.
        let slot = if self.outbox.is_empty() { self.slots.current() } else { self.open()? };
        if let Some(flush) = &self.flush {
            flush.check()?;
            if !flush.is_done() {
                return Ok(());
            }
            self.flush = None;
        }
        let Some(slot) = slot else { return Ok(()) };
        let lane = self.lane(slot)?;
        if !self.outbox.is_empty() {
            lane.begin()?;
            lane.send(&mut self.outbox, false)?;
        }
        lane.poll()
    }

    /// Returns `true` if records wait for a producer. The barrier behind them has to wait as well: their transaction has to be
    /// listed by its checkpoint.
    fn is_waiting(&self) -> bool {
        !self.outbox.is_empty() && self.slots.current().is_none()
    }

    fn check_waiting(&mut self, now: MonotonicTime) -> Result<()> {
        if !self.is_waiting() {
            (self.waiting_since, self.stuck_since) = (None, None);
            return Ok(());
        }
        if now.since(*self.waiting_since.get_or_insert(now)) >= PRODUCER_PATIENCE {
            return Err(Error::transient(format!(
                "no Kafka producer of the sink has become ready for {PRODUCER_PATIENCE:?}: the making of producers and the \
                 commits of their transactions do not come to an end. Look at the brokers, and at earlier warnings"
            )));
        }
        self.check_stuck(now)
    }

    /// Fails the task when records wait and every producer holds output that only a completed checkpoint can release. The barrier
    /// of the next one waits behind these records: if none is under way, no checkpoint would ever complete.
    fn check_stuck(&mut self, now: MonotonicTime) -> Result<()> {
        if !self.slots.is_stuck() {
            self.stuck_since = None;
            return Ok(());
        }
        if now.since(*self.stuck_since.get_or_insert(now)) < STUCK_PATIENCE {
            return Ok(());
        }
        Err(Error::transient(format!(
            "all {SLOTS_MAX} Kafka producers of the sink wait for a checkpoint to complete, or for a commit marker that a \
             partition lacks. The sink can take no more records, nor the barrier behind them. Look at why checkpoints fail, \
             and at earlier warnings"
        )))
    }
}

impl<T: Record> SinkWriter for ExactlyOnceWriter<T> {
    type In = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<()> {
        self.serializer.serialize(batch, &mut self.outbox)?;
        self.pump()
    }

    fn readiness(&self) -> Result<Readiness> {
        self.doom.check()?;
        let is_ready = self.outbox.has_room() && !self.is_waiting();
        Ok(if is_ready { Readiness::Ready } else { Readiness::Full })
    }

    fn advance(&mut self, time: StepTime) -> Result<()> {
        self.now = time.now;
        self.pump()?;
        self.check_waiting(time.now)
    }

    fn precommit(&mut self, checkpoint: CheckpointId) -> Result<WriteList> {
        self.doom.check()?;
        if self.is_waiting() {
            // Records that a timer or a window has emitted between the question for room and this barrier.
            self.slots.on_barrier(checkpoint);
            return Ok(Box::new(|| {
                Err(Error::transient(
                    "no Kafka producer was ready for records in front of the barrier; the next checkpoint has them",
                ))
            }));
        }
        let cut = self.slots.on_barrier(checkpoint);
        let mut guard = None;
        if let Some(slot) = cut.closed {
            let lane = self.lane(slot)?;
            let outbox = std::mem::take(&mut self.outbox);
            let flush = Arc::new(Flush::new(Arc::clone(&lane), outbox, true, self.flush.take()));
            self.flush = Some(Arc::clone(&flush));
            guard = Some(FlushGuard(Arc::clone(&flush)));
            self.transactions[slot] = Some(Arc::new(Transaction {
                id: self.starter.id(slot),
                checkpoint,
                lane,
                flush,
                topic: Arc::clone(&self.settings.topic),
                owner: self.owner.clone(),
                generation: self.generation,
                client: Arc::clone(&self.client),
                listed_within: TransactionBudget::new(self.starter.timeout()?).listed_within(),
                doom: Arc::clone(&self.doom),
                sealed: Mutex::default(),
            }));
        }
        let listed: Vec<_> = cut.listed.iter().filter_map(|&slot| self.transactions[slot].clone()).collect();
        assert_eq!(listed.len(), cut.listed.len(), "every listed slot has a transaction");
        Ok(Box::new(move || {
            let sealed: Result<Vec<_>> = listed.iter().map(|transaction| transaction.seal()).collect();
            drop(guard);
            let committables = sealed?;
            // To seal the others may have taken long.
            listed.iter().try_for_each(|transaction| transaction.check_age())?;
            Ok(committables)
        }))
    }

    fn commit(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.slots.on_complete(checkpoint, &mut self.actions);
        self.act()
    }

    fn has_committed(&self, checkpoint: CheckpointId) -> bool {
        self.slots.has_committed(checkpoint, self.now)
    }
}

impl<T> Drop for ExactlyOnceWriter<T> {
    fn drop(&mut self) {
        // Transactions stay open: recovery commits those that a complete checkpoint lists.
        let (lanes, transactions) = (std::mem::take(&mut self.lanes), std::mem::take(&mut self.transactions));
        lanes.iter().flatten().for_each(|lane| lane.abandon());
        transactions.iter().flatten().for_each(|transaction| transaction.lane.abandon());
        // The last one who holds a lane waits for its producer: a flush and an event may be that.
        let flush = self.flush.take();
        let events = std::mem::replace(&mut self.events, sync_channel(1).1);
        background::run("kafka-close", move || drop((flush, events, lanes, transactions)));
    }
}

#[cfg(test)]
#[path = "exactly_once_tests.rs"]
mod tests;
