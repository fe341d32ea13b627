//! Asking about transactions, finishing and fencing them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    time::Duration,
};

use flott_core::{Error, Result};
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
    settings::BrokerAddress,
};

/// Never higher. Version 5 bumps the epoch, and on a cluster whose `transaction.version` is 0 it leaves the
/// transactional id answering CONCURRENT_TRANSACTIONS for ever.
const END_TXN_VERSION_MAX: i16 = 4;
const INIT_PRODUCER_ID_VERSION_MAX: i16 = 4;
const LIST_TRANSACTIONS_VERSION_MAX: i16 = 1;
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
    fn parse(name: &str) -> Self {
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
            for (address, ids) in self.by_coordinator(&missing)? {
                for ids in ids.chunks(IDS_PER_REQUEST_MAX) {
                    found.extend(self.describe_at(&address, ids).await?);
                }
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

    /// Lists the transactions of all coordinators, those in `phases` (names as Kafka writes them) or, when it is
    /// empty, all that the brokers remember and this user may see.
    ///
    /// # Errors
    /// When a broker cannot be reached in time, or refuses.
    pub async fn list_transactions(&self, phases: &[&'static str]) -> Result<Vec<ListedTransaction>> {
        let request = ListTransactionsRequest::default()
            .with_state_filters(phases.iter().map(|&name| StrBytes::from_static_str(name)).collect());
        let mut listed = Vec::new();
        for address in self.metadata(Some(&[])).await?.brokers.into_values() {
            listed.extend(self.list_at(&address, &request).await?);
        }
        Ok(listed)
    }

    async fn list_at(
        &self,
        address: &BrokerAddress,
        request: &ListTransactionsRequest,
    ) -> Result<Vec<ListedTransaction>> {
        let what = format!("list transactions at {address}");
        self.persist(&what, || async {
            let answer = self.ask(address, request, LIST_TRANSACTIONS_VERSION_MAX).await?;
            match KafkaCode(answer.error_code) {
                KafkaCode::NONE => Ok(answer.transaction_states),
                code if code.is_coordinator_move() => Err(Failure::Retry(code.into_error(&what))),
                code => Err(Failure::Stop(code.into_error("ListTransactions"))),
            }
        })
        .await
        .map(|states| {
            let listed = states.iter().map(|state| ListedTransaction {
                transactional_id: state.transactional_id.as_str().into(),
                producer_id: state.producer_id.0,
                phase: TransactionPhase::parse(state.transaction_state.as_str()),
            });
            listed.collect()
        })
    }

    fn by_coordinator(&self, ids: &[String]) -> Result<HashMap<BrokerAddress, Vec<String>>, Failure> {
        let mut groups: HashMap<_, Vec<_>> = HashMap::new();
        for id in ids {
            let address = self.located(CoordinatorKind::Transaction, id).ok_or_else(|| not_located(id))?;
            groups.entry(address).or_default().push(id.clone());
        }
        Ok(groups)
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
        let answer = self.ask(address, &request, 0).await.inspect_err(|_| {
            ids.iter().for_each(|id| self.forget_coordinator(kind, id));
        })?;
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

fn abridged(ids: &[String]) -> String {
    match ids {
        [] => "(none)".into(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}
