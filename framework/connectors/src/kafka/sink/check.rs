//! What can be found wrong before the job starts.

use std::time::Duration;

use flott_core::{Error, ErrorKind, Result};

use super::settings::SinkSettings;
use crate::kafka::{blocking::BlockingClient, client::KafkaCode};

/// How long the brokers have to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Checks topic, permissions and time limits.
pub(super) fn check(settings: &SinkSettings, checkpoint_interval: Duration) -> Result<()> {
    settings.linger()?;
    let is_transactional = settings.prefix.is_some();
    if is_transactional {
        settings.transactional_config("check", Duration::from_secs(60))?;
        if let Some(timeout) = settings.transaction_timeout {
            check_interval(settings, timeout, checkpoint_interval)?;
        }
    } else {
        settings.idempotent_config()?;
    }
    let client = BlockingClient::new(settings.properties.given())?.with_patience(PATIENCE);
    check_topic(settings, &client)?;
    if is_transactional {
        // A user who may not see the broker's settings learns of a wrong limit from the first producer.
        let allowed = client.ask(async |client| client.transaction_timeout_max().await)?;
        let timeout = settings.effective_transaction_timeout(allowed);
        check_limit(settings, timeout, allowed)?;
        check_interval(settings, timeout, checkpoint_interval)?;
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
            Err(refuse(settings, format_args!("there is no such topic; create it, or correct its name")))
        }
        Some(KafkaCode::TOPIC_AUTHORIZATION_FAILED) => Err(refuse(
            settings,
            format_args!(
                "this user may not see the topic; grant it WRITE and DESCRIBE (exactly-once: READ as well)"
            ),
        )),
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

/// What is left of the timeout after two intervals is for the checkpoint itself.
fn check_interval(settings: &SinkSettings, timeout: Duration, interval: Duration) -> Result<()> {
    let shown = humantime::format_duration;
    if timeout > interval * 2 {
        return Ok(());
    }
    Err(refuse(
        settings,
        format_args!(
            "a transaction timeout of {} is too short for a checkpoint interval of {}: brokers would abort output \
             before it is committed; set it to more than {}",
            shown(timeout),
            shown(interval),
            shown(interval * 2)
        ),
    ))
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
    fn a_timeout_below_two_intervals_is_refused_without_asking_anyone() {
        let mut settings = SinkSettings::new("127.0.0.1:1", "t");
        settings.prefix = Some("p".into());
        settings.transaction_timeout = Some(Duration::from_secs(15));
        let seconds = Duration::from_secs;
        let error = check(&settings, seconds(10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.to_string().contains("15s") && error.to_string().contains("10s"), "{error}");
        assert!(check_interval(&settings, seconds(15), seconds(7)).is_ok());
    }
}
