//! What an error of librdkafka means for the job.

use flott_core::{Error, ErrorKind};
use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};

/// The error with its kind, and with advice where a person can do something. An operation that the brokers do not allow is
/// [`ErrorKind::Refused`]: whether that is final depends on whether the job has worked before, which only the JobManager knows.
pub(super) fn failure(what: impl std::fmt::Display, error: &KafkaError) -> Error {
    // Its text has the value of the property, which may be a password.
    if let KafkaError::ClientConfig(_, reason, property, _) = error {
        return Error::new(ErrorKind::Settings, format!("{what}: property {property}: {reason}"));
    }
    let Some(code) = error.rdkafka_error_code() else {
        let kind = match error {
            KafkaError::ClientCreation(_) | KafkaError::Nul(_) => ErrorKind::Settings,
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
            (ErrorKind::Refused, "; create the topic, or correct its name")
        }
        Code::TopicAuthorizationFailed => {
            (ErrorKind::Refused, "; grant this user READ (source) or WRITE (sink) and DESCRIBE on the topic")
        }
        Code::GroupAuthorizationFailed => (
            ErrorKind::Refused,
            "; grant this user READ on the group (exactly-once sinks: on groups that start with the prefix)",
        ),
        Code::TransactionalIdAuthorizationFailed => (
            ErrorKind::Refused,
            "; grant this user WRITE and DESCRIBE on transactional ids that start with the prefix",
        ),
        Code::ClusterAuthorizationFailed => {
            (ErrorKind::Refused, "; grant this user IDEMPOTENT_WRITE on the cluster")
        }
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            (ErrorKind::Refused, "; check the sasl.* properties")
        }
        Code::SSL => (ErrorKind::Refused, "; check the ssl.* properties"),
        Code::InvalidTransactionTimeout => (
            ErrorKind::Settings,
            "; lower the sink's transaction timeout, or raise the broker's transaction.max.timeout.ms",
        ),
        Code::InvalidArgument | Code::InvalidConfig => (ErrorKind::Settings, ""),
        _ => (ErrorKind::Transient, ""),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::{ClientConfig, consumer::BaseConsumer};

    use super::*;

    #[test]
    fn a_property_that_is_refused_keeps_its_value_to_itself() {
        for property in ["sasl.pasword", "ssl.key.pem", "linger.ms"] {
            let mut config = ClientConfig::new();
            config.set("security.protocol", "ssl").set(property, "swordfish");
            let Err(error) = config.create::<BaseConsumer>() else { panic!("{property} was accepted") };
            let error = failure("topic", &error);
            assert_eq!(error.kind(), ErrorKind::Settings);
            let text = format!("{error} {error:?}");
            assert!(!text.contains("swordfish"), "{text}");
        }
    }
    #[test]
    fn what_brokers_do_not_let_this_user_do_may_pass_and_wrong_settings_do_not() {
        use RDKafkaErrorCode as Code;
        let kind = |code| code_failure("topic", code, "no").kind();
        for code in [
            Code::SSL,
            Code::Authentication,
            Code::SaslAuthenticationFailed,
            Code::UnsupportedSASLMechanism,
            Code::UnknownTopic,
            Code::UnknownTopicOrPartition,
            Code::UnknownPartition,
            Code::TopicAuthorizationFailed,
            Code::GroupAuthorizationFailed,
            Code::TransactionalIdAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
        ] {
            assert_eq!(kind(code), ErrorKind::Refused, "{code:?}");
        }
        for code in [Code::InvalidTransactionTimeout, Code::InvalidArgument, Code::InvalidConfig] {
            assert_eq!(kind(code), ErrorKind::Settings, "{code:?}");
        }
        assert_eq!(kind(Code::AllBrokersDown), ErrorKind::Unreachable);
        assert_eq!(kind(Code::NotLeaderForPartition), ErrorKind::Transient);
    }
}
