//! The partitions that have to know what a settlement has found and done.

use std::collections::{BTreeMap, BTreeSet};

use flott_core::CheckpointId;

use super::{AuditItem, Committable, LostTransaction, Outcome, SettlementReport};
use crate::kafka::client::{ProducerIdentity, TransactionDescription, TransactionPhase};

/// Places in which earlier transactions of fenced producers are looked for: they are products of ids and partitions.
const EARLIER_MAX: usize = 50_000;

/// Knowledge of a settlement that is done.
pub(super) struct ToAudit<'a> {
    pub(super) report: &'a SettlementReport,
    pub(super) listed: &'a [Committable],
    /// Descriptions of each id by its coordinator, in order.
    pub(super) seen: &'a BTreeMap<String, Vec<TransactionDescription>>,
    /// Ids whose group waits in vain for the end of a transaction, and where it waits.
    pub(super) unstable: &'a BTreeMap<String, Option<(String, i32)>>,
}

/// A transaction that is over, by what its coordinator says.
struct Over<'a> {
    id: &'a str,
    producer: ProducerIdentity,
    outcome: Outcome,
    places: BTreeSet<(String, i32)>,
}

impl ToAudit<'_> {
    pub(super) fn items(&self) -> Vec<AuditItem> {
        let mut over = self.listed_and_judged();
        let fenced: Vec<_> = self.aborted_by_fence().filter(|fenced| !is_among(&over, fenced)).collect();
        over.extend(fenced);
        self.add_groups(&mut over);
        let mut items: Vec<_> = over.iter().flat_map(Over::items).collect();
        items.extend(self.earlier(&items));
        items
    }

    /// Places of what the fenced producers have written before: an earlier transaction of theirs that is open in any of these partitions
    /// hangs as well, and no checkpoint lists it any more.
    fn earlier(&self, items: &[AuditItem]) -> Vec<AuditItem> {
        let places: BTreeSet<_> = items.iter().map(|item| (&item.topic, item.partition)).collect();
        let known: BTreeSet<_> =
            items.iter().map(|item| (item.producer, (&item.topic, item.partition))).collect();
        let fenced =
            self.report.fenced.iter().filter_map(|id| Some((id, self.seen_of(id).last()?.producer())));
        let all = fenced.flat_map(|(id, producer)| places.iter().map(move |&place| (id, producer, place)));
        let earlier = all.filter(|&(_, producer, place)| !known.contains(&(producer, place)));
        let item = |(id, producer, (topic, partition)): (&String, _, (&String, _))| AuditItem {
            transactional_id: id.clone(),
            producer,
            outcome: Outcome::Unknown,
            topic: topic.clone(),
            partition,
            gone_for: 0,
        };
        earlier.map(item).take(EARLIER_MAX).collect()
    }

    fn listed_and_judged(&self) -> Vec<Over<'_>> {
        let report = self.report;
        let settled = report.committed.iter().chain(&report.already_committed);
        let settled = settled
            .map(|settled| ((settled.transactional_id.as_str(), settled.checkpoint_id), Outcome::Committed));
        let lost = missing(&report.lost, Outcome::Aborted).chain(missing(&report.unknown, Outcome::Unknown));
        let outcomes: BTreeMap<_, _> = settled.chain(lost).collect();
        let judged = self.listed.iter().filter_map(|listed| {
            let outcome = *outcomes.get(&key(listed))?;
            let producer = listed.producer();
            let written = listed.records.iter().map(|part| (part.topic.clone(), part.partition));
            let is_it = |seen: &&TransactionDescription| seen.producer() == producer;
            let open = self.seen_of(&listed.transactional_id).iter().filter(is_it);
            let open = open.flat_map(|seen| seen.partitions.iter().cloned());
            Some(Over {
                id: &listed.transactional_id,
                producer,
                outcome,
                places: written.chain(open).collect(),
            })
        });
        judged.collect()
    }

    /// They were open until the fence.
    fn aborted_by_fence(&self) -> impl Iterator<Item = Over<'_>> {
        let last = self.report.fenced.iter().filter_map(|id| Some((id, self.seen_of(id).last()?)));
        last.filter(|(_, seen)| seen.phase == TransactionPhase::Ongoing).map(|(id, seen)| Over {
            id,
            producer: seen.producer(),
            outcome: Outcome::Aborted,
            places: seen.partitions.clone(),
        })
    }

    /// Adds the partitions in which groups wait in vain.
    fn add_groups<'a>(&'a self, over: &mut Vec<Over<'a>>) {
        for (id, place) in self.unstable {
            let Some(place) = place else { continue };
            let mut of_id: Vec<_> = over.iter_mut().filter(|over| over.id == id).collect();
            of_id.iter_mut().for_each(|over| over.places.extend([place.clone()]));
            let is_new = of_id.is_empty();
            if let Some(seen) = self.seen_of(id).last().filter(|_| is_new) {
                let (producer, outcome) = (seen.producer(), Outcome::of(&seen.phase));
                over.push(Over { id, producer, outcome, places: BTreeSet::from([place.clone()]) });
            }
        }
    }

    fn seen_of(&self, id: &str) -> &[TransactionDescription] {
        self.seen.get(id).map_or(&[], Vec::as_slice)
    }
}

impl Over<'_> {
    fn items(&self) -> impl Iterator<Item = AuditItem> {
        self.places.iter().map(|(topic, partition)| AuditItem {
            transactional_id: self.id.to_owned(),
            producer: self.producer,
            outcome: self.outcome,
            topic: topic.clone(),
            partition: *partition,
            gone_for: 0,
        })
    }
}

fn missing(
    lost: &[LostTransaction],
    outcome: Outcome,
) -> impl Iterator<Item = ((&str, CheckpointId), Outcome)> {
    lost.iter().map(move |lost| (key(&lost.committable), outcome))
}

fn key(committable: &Committable) -> (&str, CheckpointId) {
    (&committable.transactional_id, committable.checkpoint_id)
}

fn is_among(over: &[Over<'_>], one: &Over<'_>) -> bool {
    over.iter().any(|other| (other.id, other.producer) == (one.id, one.producer))
}
