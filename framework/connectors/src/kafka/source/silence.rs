//! A consumer that gives nothing although there is something.
//!
//! librdkafka forgets brokers that are not in the metadata. A client that was once told of no broker at all, because a lone
//! one was just being started, asks none of them ever again, and says nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc::{Receiver, sync_channel},
    time::Duration,
};

use flott_core::{Error, MonotonicTime, Result};

use super::settings::SourceSettings;
use crate::kafka::{background, blocking::BlockingClient};

/// How long a consumer may be silent before somebody else is asked.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many answers in a row must say that there are records which do not come.
const SUSPICIONS_MAX: u32 = 2;
/// How long brokers have to answer. Brokers that are away are not the consumer's fault.
const ASK_PATIENCE: Duration = Duration::from_secs(10);

/// When to ask, and what follows from the answers.
#[derive(Debug, Default)]
struct Silence {
    since: Option<MonotonicTime>,
    suspicions: u32,
}

impl Silence {
    fn on_heard(&mut self, now: MonotonicTime) {
        *self = Self { since: Some(now), suspicions: 0 };
    }

    fn is_long(&mut self, now: MonotonicTime) -> bool {
        now.since(*self.since.get_or_insert(now)) >= PATIENCE
    }

    /// Whether the consumer is given up. `is_behind`: there is something to read; `None`, if nobody knows.
    fn on_answer(&mut self, now: MonotonicTime, is_behind: Option<bool>) -> bool {
        self.since = Some(now);
        self.suspicions = if is_behind == Some(true) { self.suspicions + 1 } else { 0 };
        self.suspicions >= SUSPICIONS_MAX
    }
}

/// Asks brokers beside a silent consumer.
#[derive(Debug, Default)]
pub(super) struct SilenceWatch {
    silence: Silence,
    answer: Option<Receiver<Option<bool>>>,
}

impl SilenceWatch {
    /// The consumer has given something.
    pub(super) fn on_heard(&mut self, now: MonotonicTime) {
        self.silence.on_heard(now);
        self.answer = None;
    }

    /// The consumer has given nothing; it stands at these offsets. Does not wait.
    ///
    /// # Errors
    /// When there has been something to read for a long time.
    pub(super) fn on_nothing(
        &mut self,
        now: MonotonicTime,
        settings: &SourceSettings,
        positions: impl Iterator<Item = (i32, i64)>,
    ) -> Result<()> {
        let Some(answer) = &self.answer else {
            if self.silence.is_long(now) {
                self.answer = Some(ask(settings.clone(), positions.collect()));
            }
            return Ok(());
        };
        let Ok(is_behind) = answer.try_recv() else { return Ok(()) };
        self.answer = None;
        if self.silence.on_answer(now, is_behind) {
            let (topic, patience) = (&settings.topic, PATIENCE * SUSPICIONS_MAX);
            let text = format!(
                "Kafka topic {topic}: the client has given nothing for {patience:?} although there are records"
            );
            return Err(Error::transient(text));
        }
        Ok(())
    }
}

fn ask(settings: SourceSettings, positions: BTreeMap<i32, i64>) -> Receiver<Option<bool>> {
    let (sender, answer) = sync_channel(1);
    background::run("kafka-silence", move || {
        let is_behind = is_behind(&settings, &positions);
        if let Err(error) = &is_behind {
            tracing::debug!(topic = %settings.topic, %error, "nobody knows whether there is something to read");
        }
        // The reader may be gone.
        let _ = sender.send(is_behind.ok());
    });
    answer
}

fn is_behind(settings: &SourceSettings, positions: &BTreeMap<i32, i64>) -> Result<bool> {
    let client = BlockingClient::new(&settings.properties)?.with_patience(ASK_PATIENCE);
    let partitions: BTreeSet<_> =
        positions.keys().map(|&partition| (settings.topic.clone(), partition)).collect();
    let ends = client.ask(async |client| client.end_offsets(&partitions).await)?;
    let mut ends = ends.into_iter().map(|((_, partition), end)| (positions.get(&partition), end));
    Ok(ends.any(|(position, end)| position.is_some_and(|&position| position.max(0) < end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_consumer_is_given_up_when_records_do_not_come_twice_in_a_row() {
        let mut silence = Silence::default();
        silence.on_heard(at(100));
        assert!(!silence.is_long(at(129)) && silence.is_long(at(130)));
        assert!(!silence.on_answer(at(131), Some(true)));
        assert!(!silence.is_long(at(160)) && silence.is_long(at(161)));
        assert!(silence.on_answer(at(162), Some(true)));
    }

    #[test]
    fn an_idle_topic_and_absent_brokers_are_no_fault_of_the_consumer() {
        let mut silence = Silence::default();
        for (now, is_behind) in
            [(40, Some(true)), (80, Some(false)), (120, Some(true)), (160, None), (200, Some(true))]
        {
            assert!(!silence.on_answer(at(now), is_behind));
        }
        silence.on_heard(at(230));
        assert!(!silence.on_answer(at(270), Some(true)));
    }
}
