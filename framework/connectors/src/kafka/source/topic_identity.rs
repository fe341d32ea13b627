//! Check that a topic is still the one that a position belongs to.
//!
//! A topic that was deleted and created again has the same name and other records: a position in the old one says nothing about
//! them. Kafka tells the two apart by an id.

use std::{
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
    time::Duration,
};

use flott_core::{Error, ErrorKind, Result};

use super::settings::SourceSettings;
use crate::kafka::{background, blocking::BlockingClient};

/// Maximum time for brokers to give the id. After that they are not asked again: reading goes on unchecked.
const PATIENCE: Duration = Duration::from_secs(30);

/// The id of the topic now; `None` when there is no such topic, or brokers do not tell.
///
/// # Errors
/// When no broker can be asked in time, or the settings are not those of our own client.
pub(super) fn topic_id(settings: &SourceSettings, patience: Duration) -> Result<Option<u128>> {
    let client = BlockingClient::new(&settings.properties)?.with_patience(patience);
    let topic = settings.topic.as_str();
    let metadata = client.ask(async |client| client.metadata(Some(&[topic])).await)?;
    Ok(metadata.topics.get(topic).and_then(|found| found.id))
}

/// Compares the id that a position was taken in with the present one.
///
/// # Errors
/// [`ErrorKind::State`] when both are known and differ.
pub(super) fn check(topic: &str, expected: Option<u128>, found: Option<u128>) -> Result<()> {
    match (expected, found) {
        (Some(expected), Some(found)) if expected != found => Err(Error::new(
            ErrorKind::State,
            format!(
                "Kafka topic {topic} was deleted and created again: its id was {expected:032x} and is {found:032x} now, so the \
                 offsets in the checkpoint do not belong to its records. To read the new topic from where `.start(…)` says, give the \
                 source another uid, or start the job on an empty checkpoint directory"
            ),
        )),
        _ => Ok(()),
    }
}

/// Asks for the id of a reader's topic without blocking the reader, which reads nothing meanwhile.
#[derive(Debug)]
pub(super) struct IdentityCheck {
    expected: u128,
    answer: Receiver<Option<u128>>,
}

impl IdentityCheck {
    pub(super) fn new(settings: &SourceSettings, expected: u128) -> Self {
        let (sender, answer) = sync_channel(1);
        let settings = settings.clone();
        background::run("kafka-topic-id", move || {
            let found = topic_id(&settings, PATIENCE);
            if let Err(error) = &found {
                let topic = &settings.topic;
                tracing::warn!(topic, %error, "cannot see whether the topic is the one that the checkpoint is of");
            }
            // The reader may be gone.
            let _ = sender.send(found.ok().flatten());
        });
        Self { expected, answer }
    }

    /// Returns `true` if the answer has arrived and the topic is the same, or its id is not known.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when the topic is another one.
    pub(super) fn is_passed(&self, topic: &str) -> Result<bool> {
        match self.answer.try_recv() {
            Ok(found) => check(topic, Some(self.expected), found).map(|()| true),
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_id_is_another_topic_and_an_unknown_one_may_be_the_same() {
        for (expected, found) in [(None, None), (Some(1), None), (None, Some(1)), (Some(1), Some(1))] {
            check("t", expected, found).unwrap();
        }
        let error = check("t", Some(1), Some(2)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        assert!(error.to_string().contains("deleted and created again"), "{error}");
    }
}
