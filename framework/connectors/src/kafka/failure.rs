//! What an error of librdkafka means for the job.

use flott_core::{Error, ErrorKind};
use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};

/// The error with its kind, and with advice where a person can do something.
pub(super) fn failure(what: impl std::fmt::Display, error: &KafkaError) -> Error {
    let Some(code) = error.rdkafka_error_code() else {
        let kind = match error {
            KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::Nul(_) => {
                ErrorKind::Settings
            }
            _ => ErrorKind::Transient,
        };
        return Error::new(kind, format!("{what}: {error}"));
    };
    code_failure(what, code, &error.to_string())
}

/// As [`failure`], from a bare code.
pub(super) fn code_failure(what: impl std::fmt::Display, code: RDKafkaErrorCode, text: &str) -> Error {
    let (kind, advice) = meaning(code);
    Error::new(kind, format!("{what}: {text}{advice}"))
}

fn meaning(code: RDKafkaErrorCode) -> (ErrorKind, &'static str) {
    use RDKafkaErrorCode as Code;
    match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::Resolve => {
            (ErrorKind::Unreachable, "; check the broker addresses, the network and that the brokers run")
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            (ErrorKind::Settings, "; create the topic, or correct its name")
        }
        Code::TopicAuthorizationFailed => {
            (ErrorKind::Settings, "; grant this user READ (source) or WRITE (sink) and DESCRIBE on the topic")
        }
        Code::GroupAuthorizationFailed => (
            ErrorKind::Settings,
            "; grant this user READ on the group (exactly-once sinks: on groups that start with the prefix)",
        ),
        Code::TransactionalIdAuthorizationFailed => (
            ErrorKind::Settings,
            "; grant this user WRITE and DESCRIBE on transactional ids that start with the prefix",
        ),
        Code::ClusterAuthorizationFailed => {
            (ErrorKind::Settings, "; grant this user IDEMPOTENT_WRITE on the cluster")
        }
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            (ErrorKind::Settings, "; check the sasl.* properties")
        }
        Code::SSL => (ErrorKind::Settings, "; check the ssl.* properties"),
        Code::InvalidTransactionTimeout => (
            ErrorKind::Settings,
            "; lower the sink's transaction timeout, or raise the broker's transaction.max.timeout.ms",
        ),
        Code::InvalidArgument | Code::InvalidConfig => (ErrorKind::Settings, ""),
        _ => (ErrorKind::Transient, ""),
    }
}
