//! What goes between the decider and its driver.

use std::collections::BTreeMap;

use super::{Evidence, Marker, MarkerReading};
use crate::kafka::client::{EndedProducers, KafkaCode, ProducerIdentity, RecordFate, TransactionDescription};

/// What the driver is asked to do. The actions of one batch are independent of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for the cluster's id.
    ReadClusterId,
    /// Find out which of these ids, of generations later than the job's own, brokers know.
    FindLater(Vec<String>),
    /// List all transactional ids that brokers know and that begin with `stem`.
    ListTransactions {
        /// Their beginning.
        stem: String,
    },
    /// Describe these transactional ids.
    Describe(Vec<String>),
    /// End the transaction of committable `index` with a commit.
    Commit {
        /// Position in the request's list.
        index: usize,
        /// Its id.
        transactional_id: String,
        /// Its producer.
        producer: ProducerIdentity,
    },
    /// Take the id over.
    Fence(String),
    /// Read the marker of an id.
    ReadMarker {
        /// The id.
        transactional_id: String,
        /// Topic of its marker.
        topic: String,
        /// The read waits until no open transaction holds a newer one, or that is not to be expected any more.
        is_stable: bool,
    },
    /// Write a marker outside of any transaction.
    WriteMarker {
        /// Group that it is written to.
        group: String,
        /// Topic that it is written for.
        topic: String,
        /// What it says.
        marker: Marker,
    },
    /// Look up records of committable `index`.
    LookUpRecords {
        /// Position in the request's list.
        index: usize,
        /// The records, of one partition each.
        records: Vec<Evidence>,
        /// Id of the producer that wrote them.
        producer_id: i64,
        /// Producers whose transactions are over.
        ended: EndedProducers,
    },
}

/// What the driver found: one for every action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The cluster's id.
    ClusterId(Option<String>),
    /// Those of the ids that brokers know.
    FoundLater(Vec<String>),
    /// All transactional ids of the sink that brokers know.
    Listed(Vec<String>),
    /// Descriptions by id; `None` for ids that the broker does not know.
    Described(BTreeMap<String, Option<TransactionDescription>>),
    /// The final answer to the commit of committable `index`.
    Answered {
        /// Position in the request's list.
        index: usize,
        /// The answer.
        code: KafkaCode,
    },
    /// This id was taken over.
    Fenced(String),
    /// The marker of an id.
    Marker {
        /// The id.
        transactional_id: String,
        /// What was found.
        reading: MarkerReading,
    },
    /// The marker of this group is written.
    MarkerWritten(String),
    /// Fates of records of committable `index`: of all that were asked for, unless one of them decides.
    Records {
        /// Position in the request's list.
        index: usize,
        /// Their fates.
        fates: Vec<RecordFate>,
    },
}
