//! Finds out whether all partitions of a committed transaction have its marker.
//!
//! Brokers of Kafka 4.3 and 4.4 can complete a transaction without its marker in a partition that has no leader at that moment
//! (KAFKA-20734). Whatever the same producer writes there next belongs to the same open transaction for the partition.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    time::Duration,
};

use flott_core::{Clock, Result, SystemClock};

use super::{committer::Event, slots::SlotIndex};
use crate::kafka::{
    background,
    blocking::BlockingClient,
    client::{TransactionDescription, TransactionPhase},
    settlement::{AuditItem, AuditReport, Committable, HangingTransaction, Outcome, audit},
};

/// Pauses between two looks grow from the first to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// One look; it is repeated, and a writer that is dropped must not be waited for.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);
const WARNING_INTERVAL: Duration = Duration::from_secs(30);

/// Looks at the partitions of one writer's transactions.
pub(super) struct Inspector {
    client: Arc<BlockingClient>,
    events: SyncSender<Event>,
    is_cancelled: Arc<AtomicBool>,
    /// The missing permission has been reported.
    is_refusal_told: Arc<AtomicBool>,
}

/// The partitions of one transaction that are not known to be closed.
struct Inspection {
    items: Vec<AuditItem>,
    /// The places that lacked the marker at the last look: a leader that has been deposed and does not know it yet may be the
    /// one that answered.
    doubted: Vec<HangingTransaction>,
}

impl Inspector {
    pub(super) fn new(client: Arc<BlockingClient>, events: SyncSender<Event>) -> Self {
        Self { client, events, is_cancelled: Arc::default(), is_refusal_told: Arc::default() }
    }

    /// Tells the writer by an event when the partitions have been seen. It may take long: a partition can be without a leader.
    pub(super) fn inspect(&self, slot: SlotIndex, committed: Committable) {
        let (client, events) = (Arc::clone(&self.client), self.events.clone());
        let (is_cancelled, is_refusal_told) =
            (Arc::clone(&self.is_cancelled), Arc::clone(&self.is_refusal_told));
        background::run("kafka-inspect", move || {
            let hanging = Inspection::new(&committed).run(&client, &is_cancelled, &is_refusal_told);
            for hanging in hanging.iter().flatten() {
                tracing::warn!("{hanging}. This producer is not used again");
            }
            if let Some(hanging) = hanging {
                // The writer may be gone.
                let _ = events.send(Event::Inspected(slot, hanging.is_empty()));
            }
        });
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        self.is_cancelled.store(true, Ordering::Release);
    }
}

impl Inspection {
    fn new(committed: &Committable) -> Self {
        let item = |topic: &String, partition| AuditItem {
            transactional_id: committed.transactional_id.clone(),
            producer: committed.producer(),
            outcome: Outcome::Committed,
            topic: topic.clone(),
            partition,
            gone_for: 0,
        };
        let items = committed.records.iter().map(|part| item(&part.topic, part.partition)).collect();
        Self { items, doubted: Vec::new() }
    }

    /// The places that never get the marker; `None` when the writer is gone.
    fn run(
        mut self,
        client: &BlockingClient,
        is_cancelled: &AtomicBool,
        is_refusal_told: &AtomicBool,
    ) -> Option<Vec<HangingTransaction>> {
        let (mut pause, mut warned) = (PAUSE_FIRST, SystemClock.now());
        while !is_cancelled.load(Ordering::Acquire) {
            let looked = self.look(client);
            if let Ok((is_over, report)) = &looked {
                if !report.refused.is_empty() && !is_refusal_told.swap(true, Ordering::Relaxed) {
                    report.unseen().iter().for_each(|line| {
                        tracing::warn!("an exactly-once writer {line}: it trusts the coordinator");
                    });
                }
                if let Some(hanging) = self.on_look(*is_over, report) {
                    return Some(hanging);
                }
                if !report.missing.is_empty() || !self.doubted.is_empty() {
                    // A single broker may be behind the others.
                    pause = PAUSE_MAX;
                }
            }
            if SystemClock.now().since(warned) >= WARNING_INTERVAL {
                warned = SystemClock.now();
                let (id, places) = (self.items.first().map(|item| &item.transactional_id), self.items.len());
                let error = looked.err().map(tracing::field::display);
                tracing::warn!(
                    id,
                    places,
                    error,
                    "the end of a committed transaction is not yet in all partitions"
                );
            }
            client.pause(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
        None
    }

    /// Asks the coordinator, and then the leaders of the partitions. Returns `true` with their report if no marker was under way
    /// before they were asked.
    fn look(&self, client: &BlockingClient) -> Result<(bool, AuditReport)> {
        let Some(item) = self.items.first() else { return Ok((true, AuditReport::default())) };
        client.ask(async |client| {
            let client = client.with_patience(LOOK_PATIENCE);
            let seen = client.describe_transaction(&item.transactional_id).await?;
            Ok((has_sent_markers(seen.as_ref()), audit(&client, &self.items).await?))
        })
    }

    /// The places that never get the marker: two looks in a row have shown them without it. Empty once all places have it. Before
    /// the coordinator has all answers, a leader may show a marker that its successor does not have.
    fn on_look(&mut self, is_over: bool, report: &AuditReport) -> Option<Vec<HangingTransaction>> {
        if !is_over {
            return None;
        }
        let doubted = std::mem::replace(&mut self.doubted, report.hanging.clone());
        if !report.hanging.is_empty() {
            let hanging: Vec<_> =
                doubted.into_iter().filter(|hanging| report.hanging.contains(hanging)).collect();
            return (!hanging.is_empty()).then_some(hanging);
        }
        self.items = report.open_items();
        self.items.is_empty().then(Vec::new)
    }
}

/// No marker of the committed transaction is under way any more.
fn has_sent_markers(seen: Option<&TransactionDescription>) -> bool {
    use TransactionPhase::{PrepareAbort, PrepareCommit, PrepareEpochFence};
    seen.is_none_or(|seen| !matches!(seen.phase, PrepareCommit | PrepareAbort | PrepareEpochFence))
}

#[cfg(test)]
mod tests {
    use flott_core::CheckpointId;

    use super::*;
    use crate::kafka::settlement::PartitionRecords;

    fn inspection() -> Inspection {
        let part = |partition| PartitionRecords {
            topic: "out".into(),
            partition,
            records: 3,
            offset_first: 0,
            offset_last: 2,
        };
        Inspection::new(&Committable {
            transactional_id: "p.a.g1.0.0".into(),
            producer_id: 7,
            producer_epoch: 3,
            checkpoint_id: CheckpointId(5),
            txn_start_ms: None,
            timeout_ms: 60_000,
            cluster_id: None,
            marker_topic: "out".into(),
            records: vec![part(0), part(1)],
        })
    }

    fn hanging(item: &AuditItem) -> HangingTransaction {
        HangingTransaction { item: item.clone(), offset: 0 }
    }

    #[test]
    fn a_producer_is_free_when_all_its_partitions_have_the_marker() {
        let mut inspection = inspection();
        let items = inspection.items.clone();
        assert_eq!(items.iter().map(|item| item.partition).collect::<Vec<_>>(), [0, 1]);
        let away =
            AuditReport { unknown: vec![(items[1].clone(), "no leader".into())], ..Default::default() };
        assert_eq!(inspection.on_look(true, &away), None);
        assert_eq!(inspection.items, items[1..]);
        assert_eq!(inspection.on_look(true, &AuditReport::default()), Some(Vec::new()));
    }

    #[test]
    fn an_open_partition_hangs_only_when_no_marker_is_under_way() {
        let mut inspection = inspection();
        let open = hanging(&inspection.items[0]);
        let report = AuditReport { hanging: vec![open.clone()], ..Default::default() };
        assert_eq!(inspection.on_look(false, &report), None);
        assert_eq!(inspection.on_look(false, &AuditReport::default()), None, "a marker may be lost yet");
        assert_eq!(inspection.items.len(), 2);
        assert_eq!(inspection.on_look(true, &report), None, "a deposed leader may have answered");
        assert_eq!(inspection.on_look(true, &report), Some(vec![open]));
    }

    #[test]
    fn where_this_user_may_not_look_nothing_is_waited_for() {
        let mut inspection = inspection();
        let refused = inspection.items.iter().map(|item| (item.clone(), "READ".into())).collect();
        let report = AuditReport { refused, ..Default::default() };
        assert_eq!(inspection.on_look(true, &report), Some(Vec::new()));
    }
}
