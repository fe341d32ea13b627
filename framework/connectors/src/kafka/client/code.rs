//! Error codes of Kafka's answers.

use std::fmt;

use flott_core::{Error, ErrorKind};
use kafka_protocol::error::ResponseError;
use serde::{Deserialize, Serialize};

/// The error code of an answer; [`KafkaCode::NONE`] is success.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KafkaCode(pub i16);

#[expect(missing_docs, reason = "the names are Kafka's own")]
impl KafkaCode {
    pub const NONE: Self = Self(0);
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    pub const UNKNOWN_TOPIC_OR_PARTITION: Self = Self(3);
    pub const LEADER_NOT_AVAILABLE: Self = Self(5);
    pub const NOT_LEADER_OR_FOLLOWER: Self = Self(6);
    pub const REQUEST_TIMED_OUT: Self = Self(7);
    pub const REPLICA_NOT_AVAILABLE: Self = Self(9);
    pub const COORDINATOR_LOAD_IN_PROGRESS: Self = Self(14);
    pub const COORDINATOR_NOT_AVAILABLE: Self = Self(15);
    pub const NOT_COORDINATOR: Self = Self(16);
    pub const TOPIC_AUTHORIZATION_FAILED: Self = Self(29);
    pub const GROUP_AUTHORIZATION_FAILED: Self = Self(30);
    pub const CLUSTER_AUTHORIZATION_FAILED: Self = Self(31);
    pub const INVALID_PRODUCER_EPOCH: Self = Self(47);
    pub const INVALID_TXN_STATE: Self = Self(48);
    pub const INVALID_PRODUCER_ID_MAPPING: Self = Self(49);
    pub const CONCURRENT_TRANSACTIONS: Self = Self(51);
    pub const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Self = Self(53);
    pub const FENCED_LEADER_EPOCH: Self = Self(74);
    pub const UNKNOWN_LEADER_EPOCH: Self = Self(75);
    pub const OFFSET_NOT_AVAILABLE: Self = Self(78);
    pub const UNSTABLE_OFFSET_COMMIT: Self = Self(88);
    pub const PRODUCER_FENCED: Self = Self(90);
    pub const TRANSACTIONAL_ID_NOT_FOUND: Self = Self(105);
}

impl KafkaCode {
    /// The coordinator is elsewhere, or not ready: find it again and repeat.
    #[must_use]
    pub fn is_coordinator_move(self) -> bool {
        matches!(
            self,
            Self::COORDINATOR_LOAD_IN_PROGRESS | Self::COORDINATOR_NOT_AVAILABLE | Self::NOT_COORDINATOR
        )
    }

    /// The partition's leader is elsewhere, or not ready: ask for metadata again and repeat.
    #[must_use]
    pub fn is_leader_move(self) -> bool {
        matches!(
            self,
            Self::LEADER_NOT_AVAILABLE
                | Self::NOT_LEADER_OR_FOLLOWER
                | Self::REQUEST_TIMED_OUT
                | Self::REPLICA_NOT_AVAILABLE
                | Self::FENCED_LEADER_EPOCH
                | Self::UNKNOWN_LEADER_EPOCH
                | Self::OFFSET_NOT_AVAILABLE
        )
    }

    /// The user lacks a permission: a repeat cannot help.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::TOPIC_AUTHORIZATION_FAILED
                | Self::GROUP_AUTHORIZATION_FAILED
                | Self::CLUSTER_AUTHORIZATION_FAILED
                | Self::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        )
    }

    /// This code as the error of a call that did `what`.
    pub(super) fn into_error(self, what: &str) -> Error {
        let permission = match self {
            Self::TOPIC_AUTHORIZATION_FAILED => "READ and DESCRIBE on the topic",
            Self::GROUP_AUTHORIZATION_FAILED => "READ on the group",
            Self::CLUSTER_AUTHORIZATION_FAILED => "DESCRIBE on the cluster",
            Self::TRANSACTIONAL_ID_AUTHORIZATION_FAILED => "WRITE and DESCRIBE on the transactional id",
            _ => return Error::transient(format!("{what}: the broker answered {self}")),
        };
        Error::new(
            ErrorKind::Refused,
            format!("{what}: the broker answered {self}; give this user {permission} (Kafka ACLs)"),
        )
    }
}

impl fmt::Display for KafkaCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match ResponseError::try_from_code(self.0) {
            None => "NONE".into(),
            Some(ResponseError::Unknown(_)) => "an unknown code".into(),
            Some(error) => screaming(&format!("{error:?}")),
        };
        write!(f, "{name} ({})", self.0)
    }
}

impl fmt::Debug for KafkaCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `ProducerFenced` as `PRODUCER_FENCED`, the way Kafka's documents write it.
fn screaming(camel: &str) -> String {
    let mut name = String::with_capacity(camel.len() + 8);
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_print_as_in_kafkas_documents() {
        assert_eq!(KafkaCode::NONE.to_string(), "NONE (0)");
        assert_eq!(KafkaCode::PRODUCER_FENCED.to_string(), "PRODUCER_FENCED (90)");
        assert_eq!(KafkaCode(9999).to_string(), "an unknown code (9999)");
    }

    #[test]
    fn a_missing_permission_is_a_refusal_that_names_it() {
        let error = KafkaCode::GROUP_AUTHORIZATION_FAILED.into_error("read marker");
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("READ on the group"), "{error}");
        assert_eq!(KafkaCode(-1).into_error("x").kind(), ErrorKind::Transient);
    }
}
