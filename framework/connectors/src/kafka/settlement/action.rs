//! What goes between the decider and its driver.

use std::collections::BTreeMap;

use super::{Evidence, Marker, MarkerReading};
use crate::kafka::client::{KafkaCode, ProducerIdentity, RecordFate, TransactionDescription};

/// What the driver is asked to do. The actions of one batch are independent of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for the cluster's id.
    ReadClusterId,
    /// List all transactional ids that brokers know.
    ListTransactions,
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
        /// Whether to wait until no open transaction holds a newer one.
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
    /// Look up a record of committable `index`.
    LookUpRecord {
        /// Position in the request's list.
        index: usize,
        /// The record.
        record: Evidence,
        /// Who wrote it.
        producer_id: i64,
    },
}

/// What the driver found: one for every action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The cluster's id.
    ClusterId(Option<String>),
    /// All transactional ids that brokers know.
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
    /// What became of the record of committable `index`.
    Record {
        /// Position in the request's list.
        index: usize,
        /// Its fate.
        fate: RecordFate,
    },
}
