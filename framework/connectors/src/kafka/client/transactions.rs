//! Asking about transactions, finishing and fencing them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    time::Duration,
};

use flott_core::{Error, Result};
use futures::future::join_all;
use kafka_protocol::{
    messages::{
        DescribeTransactionsRequest, EndTxnRequest, InitProducerIdRequest, ListTransactionsRequest,
        ProducerId, TransactionalId, describe_transactions_response::TransactionState,
    },
    protocol::StrBytes,
};
use serde::{Deserialize, Serialize};

use super::{
    code::KafkaCode,
    connection::Failure,
    kafka_client::{CoordinatorKind, KafkaClient, not_located},
    listing::Listing,
    settings::BrokerAddress,
};

/// Never higher. Version 5 bumps the epoch, and on a cluster whose `transaction.version` is 0 it leaves the
/// transactional id answering CONCURRENT_TRANSACTIONS for ever.
const END_TXN_VERSION_MAX: i16 = 4;
const INIT_PRODUCER_ID_VERSION_MAX: i16 = 4;
/// The version that has a pattern for transactional ids (KIP-1152).
const LIST_TRANSACTIONS_VERSION_MAX: i16 = 2;
/// Ids asked for in one request.
const IDS_PER_REQUEST_MAX: usize = 200;

/// Where the coordinator has got to with the newest transaction of an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are Kafka's own")]
pub enum TransactionPhase {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
    PrepareEpochFence,
    Dead,
    /// A name that this version does not know.
    Other(String),
}

impl TransactionPhase {
    pub(super) fn parse(name: &str) -> Self {
        match name {
            "Empty" => Self::Empty,
            "Ongoing" => Self::Ongoing,
            "PrepareCommit" => Self::PrepareCommit,
            "PrepareAbort" => Self::PrepareAbort,
            "CompleteCommit" => Self::CompleteCommit,
            "CompleteAbort" => Self::CompleteAbort,
            "PrepareEpochFence" => Self::PrepareEpochFence,
            "Dead" => Self::Dead,
            other => Self::Other(other.into()),
        }
    }

    /// Whether the newest transaction was or is being aborted.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        matches!(self, Self::PrepareAbort | Self::CompleteAbort)
    }
}

/// What the coordinator knows about a transactional id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionDescription {
    /// How far the newest transaction has come.
    pub phase: TransactionPhase,
    /// Producer id now bound to the transactional id.
    pub producer_id: i64,
    /// Its newest epoch.
    pub producer_epoch: i16,
    /// After how many milliseconds the broker aborts an open transaction.
    pub timeout_ms: i32,
    /// When the newest transaction began, in milliseconds since the epoch; `None` when there was none yet.
    pub start_ms: Option<i64>,
    /// Partitions in the open transaction.
    pub partitions: BTreeSet<(String, i32)>,
}

impl TransactionDescription {
    /// The producer that is bound to the id.
    #[must_use]
    pub fn producer(&self) -> ProducerIdentity {
        ProducerIdentity { id: self.producer_id, epoch: self.producer_epoch }
    }
}

/// One line of the list of transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTransaction {
    /// The id it belongs to.
    pub transactional_id: String,
    /// Producer id bound to it.
    pub producer_id: i64,
    /// How far it has come.
    pub phase: TransactionPhase,
}

/// A producer id with its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProducerIdentity {
    /// Given by the broker, kept over many epochs.
    pub id: i64,
    /// Grows with every fence.
    pub epoch: i16,
}

impl fmt::Display for ProducerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.id, self.epoch)
    }
}

impl KafkaClient {
    /// Describes one transactional id; `None` when the broker does not know it.
    ///
    /// # Errors
    /// When the coordinator cannot be reached in time, or refuses.
    pub async fn describe_transaction(&self, id: &str) -> Result<Option<TransactionDescription>> {
        let mut found = self.describe_transactions(&[id.to_owned()]).await?;
        Ok(found.remove(id).flatten())
    }

    /// Describes many transactional ids with few requests; `None` for those the broker does not know.
    ///
    /// # Errors
    /// When a coordinator cannot be reached in time, or refuses.
    pub async fn describe_transactions(
        &self,
        ids: &[String],
    ) -> Result<BTreeMap<String, Option<TransactionDescription>>> {
        let found = tokio::sync::Mutex::new(BTreeMap::new());
        let what = format!("describe transactions {}", abridged(ids));
        self.persist(&what, || async {
            let mut found = found.lock().await;
            let missing: Vec<_> = ids.iter().filter(|id| !found.contains_key(*id)).cloned().collect();
            self.locate(CoordinatorKind::Transaction, &missing).await?;
            let groups = self.by_coordinator(&missing)?;
            let describing = groups.iter().map(|(address, ids)| self.describe_all_at(address, ids));
            let mut failed = None;
            for described in join_all(describing).await {
                match described {
                    Ok(described) => found.extend(described),
                    Err(failure @ Failure::Stop(_)) => return Err(failure),
                    Err(failure) => failed = Some(failure),
                }
            }
            if let Some(failure) = failed {
                return Err(failure);
            }
            match ids.iter().find(|id| !found.contains_key(*id)) {
                None => Ok(()),
                Some(id) => {
                    Err(Failure::Retry(Error::transient(format!("{id}: its coordinator is not ready"))))
                }
            }
        })
        .await?;
        Ok(found.into_inner())
    }

    /// Ends a transaction, repeated until the answer is a final one. The answer is the caller's to judge:
    /// `PRODUCER_FENCED`, for instance, does not say whether the transaction was committed before.
    ///
    /// # Errors
    /// When there is no final answer in time, or the permission is missing.
    pub async fn end_transaction(
        &self,
        id: &str,
        producer: ProducerIdentity,
        commits: bool,
    ) -> Result<KafkaCode> {
        let what = format!("end transaction {id}");
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional(id))
            .with_producer_id(ProducerId(producer.id))
            .with_producer_epoch(producer.epoch)
            .with_committed(commits);
        self.persist(&what, || async {
            let kind = CoordinatorKind::Transaction;
            let answer = self.ask_coordinator(kind, id, &request, END_TXN_VERSION_MAX).await?;
            let code = KafkaCode(answer.error_code);
            self.check_coordinator(kind, id, code, &what)?;
            Ok(code)
        })
        .await
    }

    /// Takes a transactional id over: aborts what is open under it, and shuts out whoever used it.
    ///
    /// # Errors
    /// When it does not succeed in time, or the permission is missing.
    pub async fn fence(&self, id: &str, transaction_timeout: Duration) -> Result<ProducerIdentity> {
        let what = format!("fence transactional id {id}");
        let timeout_ms = i32::try_from(transaction_timeout.as_millis()).unwrap_or(i32::MAX);
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(transactional(id)))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        self.persist(&what, || async {
            let kind = CoordinatorKind::Transaction;
            let answer = self.ask_coordinator(kind, id, &request, INIT_PRODUCER_ID_VERSION_MAX).await?;
            let code = KafkaCode(answer.error_code);
            self.check_coordinator(kind, id, code, &what)?;
            if code != KafkaCode::NONE {
                return Err(Failure::Stop(code.into_error("InitProducerId")));
            }
            Ok(ProducerIdentity { id: answer.producer_id.0, epoch: answer.producer_epoch })
        })
        .await
    }

    /// Lists the transactions whose id begins with `stem` at all coordinators, those in `phases` (names as Kafka writes them) or,
    /// when it is empty, all that the brokers remember and this user may see.
    ///
    /// A broker that is away holds this up until the cluster has shut it out and others coordinate in its place.
    ///
    /// # Errors
    /// When not all brokers of the cluster answer in time, or one refuses.
    pub async fn list_transactions(
        &self,
        stem: &str,
        phases: &[&'static str],
    ) -> Result<Vec<ListedTransaction>> {
        let request = ListTransactionsRequest::default()
            .with_state_filters(phases.iter().map(|&name| StrBytes::from_static_str(name)).collect());
        let progress = tokio::sync::Mutex::new((BTreeMap::new(), BTreeMap::new()));
        self.persist(&format!("list transactions {stem}…"), || async {
            let metadata = self.metadata(Some(&[])).await.map_err(Failure::Stop)?;
            let brokers = metadata.brokers.clone();
            let mut progress = progress.lock().await;
            let (asked, answered) = &mut *progress;
            if *asked != brokers {
                // Another broker now coordinates the transactions of one that has gone.
                answered.clear();
                *asked = brokers;
            }
            let missing: Vec<_> = asked.iter().filter(|(node, _)| !answered.contains_key(*node)).collect();
            let listing = missing.into_iter().map(|(&node, address)| {
                let request = request.clone();
                async move { (node, self.list_at(address, request, stem).await) }
            });
            let mut result = Ok(());
            for (node, listed) in join_all(listing).await {
                match listed {
                    Ok(listed) => drop(answered.insert(node, listed)),
                    Err(failure @ Failure::Stop(_)) => return Err(failure),
                    Err(failure) => result = Err(failure),
                }
            }
            result.inspect_err(|_| self.doubt_metadata(&metadata))
        })
        .await?;
        Ok(progress.into_inner().1.into_values().flatten().collect())
    }

    async fn list_at(
        &self,
        address: &BrokerAddress,
        mut request: ListTransactionsRequest,
        stem: &str,
    ) -> Result<Vec<ListedTransaction>, Failure> {
        let mut lease = self.lease(address).await?;
        let version = lease.connection.version::<ListTransactionsRequest>(LIST_TRANSACTIONS_VERSION_MAX)?;
        if version >= LIST_TRANSACTIONS_VERSION_MAX {
            request.transactional_id_pattern = Some(StrBytes::from_string(pattern(stem)));
        }
        let mut listing = Listing::new(stem);
        let pieces = lease.connection.call_in_pieces(&request, version, |bytes| listing.feed(bytes));
        let answer = self.watch(address, pieces).await;
        self.finish(lease, answer)?;
        let (code, listed) = listing.finish().map_err(Failure::Retry)?;
        match code {
            KafkaCode::NONE => Ok(listed),
            code if code.is_coordinator_move() => {
                Err(Failure::Retry(code.into_error(&format!("list transactions at {address}"))))
            }
            code => Err(Failure::Stop(code.into_error("ListTransactions"))),
        }
    }

    fn by_coordinator(&self, ids: &[String]) -> Result<HashMap<BrokerAddress, Vec<String>>, Failure> {
        let mut groups: HashMap<_, Vec<_>> = HashMap::new();
        for id in ids {
            let address = self.located(CoordinatorKind::Transaction, id).ok_or_else(|| not_located(id))?;
            groups.entry(address).or_default().push(id.clone());
        }
        Ok(groups)
    }

    async fn describe_all_at(
        &self,
        address: &BrokerAddress,
        ids: &[String],
    ) -> Result<Vec<(String, Option<TransactionDescription>)>, Failure> {
        let mut found = Vec::new();
        for ids in ids.chunks(IDS_PER_REQUEST_MAX) {
            found.extend(self.describe_at(address, ids).await?);
        }
        Ok(found)
    }

    /// Leaves out the ids whose coordinator is elsewhere or not ready.
    async fn describe_at(
        &self,
        address: &BrokerAddress,
        ids: &[String],
    ) -> Result<Vec<(String, Option<TransactionDescription>)>, Failure> {
        let kind = CoordinatorKind::Transaction;
        let request = DescribeTransactionsRequest::default()
            .with_transactional_ids(ids.iter().map(|id| transactional(id)).collect());
        let answer = self.ask(address, &request, 0).await?;
        let mut found = Vec::new();
        for state in &answer.transaction_states {
            let (id, code) = (state.transactional_id.as_str(), KafkaCode(state.error_code));
            match code {
                KafkaCode::NONE => found.push((id.to_owned(), Some(describe(state)))),
                KafkaCode::TRANSACTIONAL_ID_NOT_FOUND => found.push((id.to_owned(), None)),
                code if code.is_coordinator_move() => self.forget_coordinator(kind, id),
                code => return Err(Failure::Stop(code.into_error(id))),
            }
        }
        Ok(found)
    }
}

fn describe(state: &TransactionState) -> TransactionDescription {
    let partitions = state.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|&partition| (topic.topic.as_str().to_owned(), partition))
    });
    TransactionDescription {
        phase: TransactionPhase::parse(state.transaction_state.as_str()),
        producer_id: state.producer_id.0,
        producer_epoch: state.producer_epoch,
        timeout_ms: state.transaction_timeout_ms,
        start_ms: Some(state.transaction_start_time_ms).filter(|&start| start >= 0),
        partitions: partitions.collect(),
    }
}

fn transactional(id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(id.to_owned()))
}

/// A regular expression (RE2) for all texts that begin with `stem`.
fn pattern(stem: &str) -> String {
    let mut pattern = String::with_capacity(stem.len() + 8);
    for letter in stem.chars() {
        if letter.is_ascii() && !letter.is_ascii_alphanumeric() {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern + ".*"
}

fn abridged(ids: &[String]) -> String {
    match ids {
        [] => "(none)".into(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_every_letter_of_the_stem_as_it_is() {
        assert_eq!(pattern("a-b_1.x.g"), r"a\-b\_1\.x\.g.*");
        assert_eq!(pattern("ü"), "ü.*");
    }
}
