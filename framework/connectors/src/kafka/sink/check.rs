//! What can be found wrong before the job starts.

use std::time::Duration;

use flott_core::{Error, ErrorKind, Result, TransactionBudget};

use super::settings::SinkSettings;
use crate::kafka::{blocking::BlockingClient, client::KafkaCode};

/// How long the brokers have to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Checks topic, permissions and time limits.
/// `between`: interval and pause of checkpoints together.
pub(super) fn check(settings: &SinkSettings, between: Duration) -> Result<()> {
    settings.linger()?;
    let is_transactional = settings.prefix.is_some();
    if is_transactional {
        settings.transactional_config("check", Duration::from_secs(60))?;
        if let Some(timeout) = settings.transaction_timeout {
            check_budget(settings, timeout, between)?;
        }
    } else {
        settings.idempotent_config()?;
    }
    let client = BlockingClient::new(&settings.properties)?.with_patience(PATIENCE);
    check_topic(settings, &client)?;
    if is_transactional {
        // A user who may not see the broker's settings learns of a wrong limit from the first producer.
        let allowed = client.ask(async |client| client.transaction_timeout_max().await)?;
        let timeout = settings.effective_transaction_timeout(allowed);
        check_limit(settings, timeout, allowed)?;
        check_budget(settings, timeout, between)?;
    }
    Ok(())
}

fn refuse(settings: &SinkSettings, why: std::fmt::Arguments<'_>) -> Error {
    Error::new(ErrorKind::Settings, format!("{}: {why}", settings.what()))
}

fn check_topic(settings: &SinkSettings, client: &BlockingClient) -> Result<()> {
    let topic: &str = &settings.topic;
    let metadata = client.ask(async |client| client.metadata(Some(&[topic])).await);
    let metadata = metadata.map_err(|error| error.context(settings.what()))?;
    match metadata.topics.get(topic).map(|found| found.code) {
        Some(KafkaCode::NONE) => Ok(()),
        None | Some(KafkaCode::UNKNOWN_TOPIC_OR_PARTITION) => {
            let why = format_args!("there is no such topic; create it, or correct its name");
            Err(refuse(settings, why).with_kind(ErrorKind::Refused))
        }
        Some(KafkaCode::TOPIC_AUTHORIZATION_FAILED) => Err(refuse(
            settings,
            format_args!(
                "this user may not see the topic; grant it WRITE and DESCRIBE (exactly-once: READ as well)"
            ),
        )
        .with_kind(ErrorKind::Refused)),
        Some(code) => Err(refuse(settings, format_args!("{code}")).with_kind(ErrorKind::Transient)),
    }
}

fn check_limit(settings: &SinkSettings, timeout: Duration, allowed: Option<Duration>) -> Result<()> {
    match allowed {
        Some(allowed) if timeout > allowed => Err(refuse(
            settings,
            format_args!(
                "the transaction timeout is {}, the brokers allow {} (transaction.max.timeout.ms); \
                 lower the one or raise the other",
                humantime::format_duration(timeout),
                humantime::format_duration(allowed)
            ),
        )),
        _ => Ok(()),
    }
}

/// Checks that the output that a checkpoint lists can be committed in time.
fn check_budget(settings: &SinkSettings, timeout: Duration, between: Duration) -> Result<()> {
    TransactionBudget::new(timeout).check(between).map_err(|error| error.context(settings.what()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linger_that_is_no_time_is_refused_without_asking_anyone() {
        for (text, linger) in
            [("12.5", Some(12_500)), ("0", Some(0)), ("-1", None), ("soon", None), ("NaN", None)]
        {
            let mut settings = SinkSettings::new("127.0.0.1:1", "t");
            settings.properties.set("linger.ms", text);
            assert_eq!(settings.linger().ok(), linger.map(Duration::from_micros));
            if linger.is_none() {
                let error = check(&settings, Duration::from_secs(1)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Settings);
                assert!(error.to_string().contains("linger.ms"), "{error}");
            }
        }
    }

    #[test]
    fn a_timeout_that_leaves_checkpoints_no_time_is_refused_without_asking_anyone() {
        let mut settings = SinkSettings::new("127.0.0.1:1", "t");
        settings.prefix = Some("p".into());
        settings.transaction_timeout = Some(Duration::from_secs(15));
        let seconds = Duration::from_secs;
        let error = check(&settings, seconds(10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.to_string().contains("10s + 2 × 1s > 7.5s"), "{error}");
        assert!(check_budget(&settings, seconds(15), seconds(5)).is_ok());
        assert!(check_budget(&settings, seconds(15), seconds(6)).is_err());
    }
}
