//! Audit of settled transactions: finds the partitions without the marker that ends them.
//!
//! Brokers of Kafka 4.3 and 4.4 can complete a transaction without writing its marker to a partition that has no leader at that
//! moment (KAFKA-20734). The coordinator then says that the transaction is committed, while `read_committed` readers of that
//! partition stand still at its first record. Only the partition's leader knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use flott_core::{
    Result,
    record::{decode_foreign, encode_foreign},
};
use serde::{Deserialize, Serialize};

use super::SettlementReport;
use crate::kafka::client::{
    KafkaClient, OpenTransaction, PartitionProducers, ProducerIdentity, TransactionPhase,
};

/// Producers' entries that are kept to be looked at again, per sink.
const ITEMS_MAX: usize = 100_000;
/// A partition that no broker knew in so many audits in a row is gone. A single broker may be behind the others.
const GONE_AUDITS: u8 = 3;
/// Partitions that one line names.
const PLACES_NAMED: usize = 5;

/// The decision of a coordinator about a transaction that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    /// Readers should get its records.
    Committed,
    /// Readers should pass over its records.
    Aborted,
    /// Nobody can tell any more.
    Unknown,
}

/// A partition that has to know that a transaction is over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AuditItem {
    /// Transactional id.
    pub transactional_id: String,
    /// Producer that wrote in the transaction.
    pub producer: ProducerIdentity,
    /// The end of the transaction.
    pub outcome: Outcome,
    /// Topic that it wrote to.
    pub topic: String,
    /// Partition of it.
    pub partition: i32,
    /// In how many audits in a row no broker knew the partition.
    pub gone_for: u8,
}

/// A partition whose readers stand still at a transaction that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HangingTransaction {
    /// The transaction, and where it hangs.
    pub item: AuditItem,
    /// Offset of its first record there.
    pub offset: i64,
}

/// The result of an audit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Readers stand still at these.
    pub hanging: Vec<HangingTransaction>,
    /// Partitions that could not be asked, and why.
    pub unknown: Vec<(AuditItem, String)>,
    /// Partitions of which this user may not know, and which right is missing.
    pub refused: Vec<(AuditItem, String)>,
    /// Partitions that the broker asked did not know, this time.
    pub missing: Vec<AuditItem>,
}

impl Outcome {
    /// The outcome of the newest transaction of an id that was fenced after it.
    pub(super) fn of(phase: &TransactionPhase) -> Self {
        match phase {
            TransactionPhase::PrepareCommit | TransactionPhase::CompleteCommit => Self::Committed,
            TransactionPhase::Ongoing | TransactionPhase::PrepareAbort | TransactionPhase::CompleteAbort => {
                Self::Aborted
            }
            _ => Self::Unknown,
        }
    }
}

impl AuditItem {
    /// The item as the JobManager keeps it until the next audit. It never outlives the process.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_foreign(self, &mut bytes);
        bytes
    }

    /// Reads what [`Self::encode`] wrote; `None` for the item of another kind of sink.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        decode_foreign(&mut rest).ok().filter(|_| rest.is_empty())
    }

    /// The item for another look, unless its partition is gone by now.
    fn missing(&self) -> Option<Self> {
        let gone_for = self.gone_for.saturating_add(1);
        (gone_for < GONE_AUDITS).then(|| Self { gone_for, ..self.clone() })
    }

    /// The item of a partition that is there.
    fn seen(&self) -> Self {
        Self { gone_for: 0, ..self.clone() }
    }

    fn place(&self) -> (String, i32) {
        (self.topic.clone(), self.partition)
    }
}

impl AuditReport {
    /// Compares what the coordinator says to be over with what is open in the partitions.
    #[must_use]
    pub fn new(items: &[AuditItem], found: &BTreeMap<(String, i32), PartitionProducers>) -> Self {
        let mut report = Self::default();
        let mut by_place: BTreeMap<_, Vec<&AuditItem>> = BTreeMap::new();
        for item in items {
            by_place.entry(item.place()).or_default().push(item);
        }
        for (place, items) in by_place {
            match found.get(&place) {
                Some(PartitionProducers::Open(open)) => report.hanging.extend(hanging(&items, open)),
                Some(PartitionProducers::Gone) => {
                    report.missing.extend(items.iter().filter_map(|item| item.missing()))
                }
                Some(PartitionProducers::Unknown(why)) => report.not_seen(&items, why),
                Some(PartitionProducers::Refused(why)) => {
                    report.refused.extend(items.iter().map(|item| (item.seen(), why.clone())));
                }
                None => report.not_seen(&items, "it was not asked"),
            }
        }
        report
    }

    fn not_seen(&mut self, items: &[&AuditItem], why: &str) {
        self.unknown.extend(items.iter().map(|item| (item.seen(), why.to_owned())));
    }

    /// The items that could not be seen, a line for each reason.
    #[must_use]
    pub fn unseen(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (items, what) in [
            (&self.unknown, "cannot see whether readers get what was committed, and looks again later"),
            (&self.refused, "may not see whether readers get what was committed, and does not look again"),
        ] {
            let mut by_reason: BTreeMap<&str, BTreeSet<_>> = BTreeMap::new();
            for (item, why) in items {
                by_reason.entry(why).or_default().insert((&item.topic, item.partition));
            }
            lines.extend(
                by_reason.into_iter().map(|(why, places)| format!("{what}: {}: {why}", names(&places))),
            );
        }
        lines
    }

    /// The items to audit again: transactions that hang may have been helped, and others may hang. What this user may not
    /// see is not asked for again.
    #[must_use]
    pub fn open_items(&self) -> Vec<AuditItem> {
        let hanging = self.hanging.iter().map(|hanging| hanging.item.clone());
        let unknown = self.unknown.iter().map(|(item, _)| item.clone());
        hanging.chain(unknown).chain(self.missing.iter().cloned()).collect()
    }
}

fn names(places: &BTreeSet<(&String, i32)>) -> String {
    let named: Vec<_> =
        places.iter().take(PLACES_NAMED).map(|(topic, partition)| format!("{topic}/{partition}")).collect();
    match places.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Those of the open transactions that are over by what an item says. A producer has one transaction at a time: an earlier epoch
/// of its id cannot end anything any more either.
fn hanging(items: &[&AuditItem], open: &[OpenTransaction]) -> Vec<HangingTransaction> {
    let find = |open: &OpenTransaction| {
        let OpenTransaction { producer, offset } = *open;
        let over = items
            .iter()
            .filter(|item| item.producer.id == producer.id && producer.epoch <= item.producer.epoch);
        // Of several, the one that knows this very transaction and what became of it.
        let item = over.min_by_key(|item| (item.producer != producer, item.outcome))?;
        let outcome = if item.producer == producer { item.outcome } else { Outcome::Unknown };
        Some(HangingTransaction { item: AuditItem { producer, outcome, ..item.seen() }, offset })
    };
    open.iter().filter_map(find).collect()
}

impl SettlementReport {
    /// Adds what is to be audited, as far as there is room.
    pub(super) fn audit_too(&mut self, items: Vec<AuditItem>) {
        let room = ITEMS_MAX.saturating_sub(self.to_audit.len());
        self.to_audit.extend(items.into_iter().take(room));
    }
}

/// Asks the leaders of all partitions in `items`, once.
///
/// # Errors
/// When no broker tells the leaders within the client's patience.
pub async fn audit(client: &KafkaClient, items: &[AuditItem]) -> Result<AuditReport> {
    if items.is_empty() {
        return Ok(AuditReport::default());
    }
    let partitions: BTreeSet<_> = items.iter().map(AuditItem::place).collect();
    Ok(AuditReport::new(items, &client.open_transactions(&partitions).await?))
}

impl fmt::Display for HangingTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AuditItem { transactional_id, producer, outcome, topic, partition, .. } = &self.item;
        let keep = "Do not end it with kafka-transactions.sh abort, which takes these records away from readers for good: \
                    let an administrator write the missing commit marker (WriteTxnMarkers), or copy the records with a \
                    read_uncommitted consumer";
        let (state, advice) = match outcome {
            Outcome::Committed => (
                "committed",
                format!("its records are in the partition, but readers do not get them. {keep}"),
            ),
            Outcome::Aborted => (
                "aborted",
                "end it with kafka-transactions.sh abort --topic … --partition … --start-offset …".into(),
            ),
            Outcome::Unknown => (
                "over",
                format!("nobody can tell whether it was committed. If its records are wanted: {keep}"),
            ),
        };
        write!(
            f,
            "{topic}/{partition}: read_committed readers stand still at offset {}: transaction {transactional_id} (producer id \
             {}, epoch {}) is {state}, but its marker is missing in this partition (brokers 4.3 and 4.4 leave markers out, \
             KAFKA-20734; brokers that have lost their transaction topic write none); {advice}",
            self.offset, producer.id, producer.epoch
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(partition: i32) -> AuditItem {
        AuditItem {
            transactional_id: "p.a.g1.0.0".into(),
            producer: ProducerIdentity { id: 7, epoch: 3 },
            outcome: Outcome::Committed,
            topic: "out".into(),
            partition,
            gone_for: 0,
        }
    }

    fn open(epoch: i16) -> PartitionProducers {
        let producer = ProducerIdentity { id: 7, epoch };
        PartitionProducers::Open(vec![OpenTransaction { producer, offset: 42 }])
    }

    #[test]
    fn a_producer_that_is_open_after_its_transaction_is_over_hangs() {
        let items = [item(0), item(1), item(2), item(3), item(4)];
        let found = BTreeMap::from([
            (("out".to_owned(), 0), open(3)),
            (("out".to_owned(), 1), open(4)),
            (("out".to_owned(), 2), PartitionProducers::Open(Vec::new())),
            (("out".to_owned(), 3), PartitionProducers::Gone),
            (("out".to_owned(), 4), PartitionProducers::Unknown("no leader".into())),
        ]);
        let report = AuditReport::new(&items, &found);
        assert_eq!(report.hanging, [HangingTransaction { item: item(0), offset: 42 }]);
        assert_eq!(report.unknown, [(item(4), "no leader".into())]);
        assert_eq!(report.open_items(), [item(0), item(4), AuditItem { gone_for: 1, ..item(3) }]);
        let text = report.hanging[0].to_string();
        for part in ["out/0", "offset 42", "producer id 7", "epoch 3", "p.a.g1.0.0", "committed", "Do not"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn an_earlier_epoch_of_the_same_producer_id_hangs_as_well() {
        let committed = item(0);
        let earlier = AuditItem { outcome: Outcome::Unknown, ..item(0) };
        for (epoch, outcome) in [(3, Some(Outcome::Committed)), (2, Some(Outcome::Unknown)), (4, None)] {
            let found = BTreeMap::from([(("out".to_owned(), 0), open(epoch))]);
            let report = AuditReport::new(&[earlier.clone(), committed.clone()], &found);
            let hanging: Vec<_> = report.hanging.iter().map(|hanging| hanging.item.outcome).collect();
            assert_eq!(hanging, outcome.into_iter().collect::<Vec<_>>(), "epoch {epoch}");
        }
    }

    #[test]
    fn a_partition_is_gone_when_brokers_do_not_know_it_again_and_again() {
        let look = |items: &[AuditItem], found| {
            AuditReport::new(items, &BTreeMap::from([(("out".to_owned(), 0), found)])).open_items()
        };
        let once = look(&[item(0)], PartitionProducers::Gone);
        let twice = look(&once, PartitionProducers::Gone);
        assert_eq!(twice[0].gone_for, 2);
        assert_eq!(look(&twice, PartitionProducers::Unknown("x".into())), [item(0)], "it is there after all");
        assert_eq!(look(&twice, open(3)), [item(0)]);
        assert_eq!(look(&twice, PartitionProducers::Gone), []);
    }

    #[test]
    fn what_may_not_be_seen_is_told_in_one_line_and_not_looked_at_again() {
        let items: Vec<_> = (0..8).map(item).collect();
        let answer = |partition| match partition {
            0..6 => PartitionProducers::Refused("no READ".into()),
            _ => PartitionProducers::Unknown("no leader".into()),
        };
        let found = (0..8).map(|partition| (("out".to_owned(), partition), answer(partition))).collect();
        let report = AuditReport::new(&items, &found);
        assert_eq!(report.open_items(), [item(6), item(7)]);
        assert_eq!(
            report.unseen(),
            [
                "cannot see whether readers get what was committed, and looks again later: out/6, out/7: no leader",
                "may not see whether readers get what was committed, and does not look again: out/0, out/1, out/2, \
                 out/3, out/4 and 1 more: no READ"
            ]
        );
    }

    #[test]
    fn items_survive_until_the_next_audit() {
        assert_eq!(AuditItem::decode(&item(3).encode()), Some(item(3)));
        assert_eq!(AuditItem::decode(b"x"), None);
    }

    #[test]
    fn what_was_not_asked_is_not_all_right() {
        let report = AuditReport::new(&[item(0)], &BTreeMap::new());
        assert_eq!(report.open_items(), [item(0)]);
    }
}
