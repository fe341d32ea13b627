//! Reads partitions without blocking.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use flott_core::{
    BATCH_RECORDS_MAX, Batch, CheckpointId, Error, ErrorKind, EventTime, MonotonicTime, Record, Result,
    operator::{OperatorMetrics, StepTime},
    source::{SourceOutput, SourceReader, SourceStatus, Split},
};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    types::RDKafkaErrorCode,
};

use super::{
    Poison, decoder::Decoder, refusals::Refusals, settings::SourceSettings, silence::SilenceWatch,
    split::PartitionSplit, topic_identity::IdentityCheck,
};
use crate::kafka::{
    failure::{code_failure, failure},
    message::KafkaMessage,
    native::{BatchConsumer, Consumed},
    trouble,
};

/// How often the client's own events (logs, errors, results of commits) are served.
const EVENTS_INTERVAL: Duration = Duration::from_millis(100);
/// Checkpoints whose offsets are kept until they are complete.
const SNAPSHOTS_MAX: usize = 64;

pub(super) struct KafkaReader<T> {
    settings: SourceSettings,
    consumer: BatchConsumer,
    intake: Intake<T>,
    has_all_splits: bool,
    /// Splits whose end has been reported.
    reported: Vec<bool>,
    events_served: MonotonicTime,
    snapshots: BTreeMap<CheckpointId, Vec<(i32, i64)>>,
    silence: SilenceWatch,
    refusals: Refusals,
    /// Nothing is read until it has passed.
    identity: Option<IdentityCheck>,
}

/// What a message meets on its way in.
struct Intake<T> {
    decoder: Decoder<T>,
    poison: Poison,
    metrics: Arc<OperatorMetrics>,
    splits: Vec<PartitionSplit>,
    /// Split by partition number.
    by_partition: Vec<Option<usize>>,
    batches: Vec<Batch<T>>,
    touched: Vec<usize>,
    /// Partitions whose end was reached.
    at_end: Vec<i32>,
    /// Partitions that a broker refuses.
    refused: Vec<(i32, Error)>,
}

impl<T: Record> KafkaReader<T> {
    pub(super) fn new(
        settings: SourceSettings,
        decoder: Decoder<T>,
        metrics: Arc<OperatorMetrics>,
    ) -> Result<Self> {
        let what = format!("Kafka topic {}", settings.topic);
        let client: BaseConsumer =
            settings.reader_config()?.create().map_err(|error| failure(&what, &error))?;
        let consumer = BatchConsumer::new(client, &settings.topic)?;
        let intake = Intake {
            decoder,
            poison: settings.poison,
            metrics,
            splits: Vec::new(),
            by_partition: Vec::new(),
            batches: Vec::new(),
            touched: Vec::new(),
            at_end: Vec::new(),
            refused: Vec::new(),
        };
        Ok(Self {
            settings,
            consumer,
            intake,
            has_all_splits: false,
            reported: Vec::new(),
            events_served: MonotonicTime::ZERO,
            snapshots: BTreeMap::new(),
            silence: SilenceWatch::default(),
            refusals: Refusals::default(),
            identity: None,
        })
    }

    /// Reports splits that have ended and stops fetching them.
    fn report_ended(&mut self, out: &mut dyn SourceOutput<T>) -> Result<()> {
        for (index, split) in self.intake.splits.iter().enumerate() {
            if split.is_ended() && !self.reported[index] {
                self.reported[index] = true;
                self.consumer.pause(split.partition)?;
                out.split_ended(index)?;
            }
        }
        Ok(())
    }

    fn serve_events(&mut self, now: MonotonicTime) -> Result<()> {
        if now.since(self.events_served) < EVENTS_INTERVAL {
            return Ok(());
        }
        self.events_served = now;
        match self.consumer.client().poll(Duration::ZERO) {
            Some(Err(error)) => {
                let failure = failure(format!("Kafka topic {}", self.settings.topic), &error);
                trouble::report(&self.settings.topic, &error, &failure.to_string());
                // The group is for monitoring only: nothing that happens to it may fail the job.
                let is_of_group =
                    error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed);
                match failure.kind() {
                    _ if is_of_group => Ok(()),
                    ErrorKind::Refused => self.refusals.on_client_refused(now, failure),
                    ErrorKind::Settings => Err(failure),
                    // The client reconnects by itself.
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Takes note of who has given something and who was refused.
    fn note_refusals(&mut self, now: MonotonicTime) -> Result<()> {
        let intake = &mut self.intake;
        for &index in &intake.touched {
            self.refusals.on_heard(intake.splits[index].partition);
        }
        for partition in intake.at_end.drain(..) {
            self.refusals.on_heard(partition);
        }
        for (partition, refusal) in intake.refused.drain(..) {
            tracing::warn!(partition, error = %refusal, "Kafka refuses a partition; the client goes on trying");
            self.refusals.on_partition_refused(now, partition, refusal)?;
        }
        self.refusals.check(now)
    }
}

impl<T: Record> SourceReader for KafkaReader<T> {
    type Out = T;

    fn add_splits(&mut self, splits: Vec<Split>) -> Result<()> {
        for split in splits {
            let split = PartitionSplit::decode(&split)?;
            if split.topic != self.settings.topic {
                let text = format!(
                    "the checkpoint is of a source that reads topic {}, this one reads {}; give it another uid",
                    split.topic, self.settings.topic
                );
                return Err(Error::new(ErrorKind::State, text));
            }
            if let Some(expected) = split.topic_id.filter(|_| !split.is_ended() && self.identity.is_none()) {
                self.identity = Some(IdentityCheck::new(&self.settings, expected));
            }
            if !split.is_ended() {
                self.consumer.start(split.partition, split.next)?;
            }
            self.intake.add(split);
            self.reported.push(false);
        }
        Ok(())
    }

    fn no_more_splits(&mut self) {
        self.has_all_splits = true;
    }

    fn poll(&mut self, time: StepTime, out: &mut dyn SourceOutput<T>) -> Result<SourceStatus> {
        self.serve_events(time.now)?;
        self.report_ended(out)?;
        if self.reported.iter().all(|&is_reported| is_reported) {
            return Ok(if self.has_all_splits { SourceStatus::End } else { SourceStatus::Idle });
        }
        // The client fetches meanwhile.
        if let Some(identity) = &self.identity {
            if !identity.is_passed(&self.settings.topic)? {
                return Ok(SourceStatus::Preparing);
            }
            self.identity = None;
        }
        let intake = &mut self.intake;
        let count = self.consumer.consume(BATCH_RECORDS_MAX, |consumed| intake.take(consumed))?;
        self.note_refusals(time.now)?;
        let intake = &mut self.intake;
        for index in intake.touched.drain(..) {
            let batch = &mut intake.batches[index];
            out.batch(index, batch)?;
            batch.clear();
        }
        self.report_ended(out)?;
        if count > 0 {
            self.silence.on_heard(time.now);
            return Ok(SourceStatus::More);
        }
        let unended = self.intake.splits.iter().filter(|split| !split.is_ended());
        let positions = unended.map(|split| (split.partition, split.next));
        self.silence.on_nothing(time.now, &self.settings, positions)?;
        Ok(SourceStatus::Idle)
    }

    fn position(&self, split: usize) -> Option<String> {
        let split = self.intake.splits.get(split)?;
        Some(format!("topic {}, partition {}, before offset {}", split.topic, split.partition, split.next))
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<Vec<Split>> {
        if self.settings.group.is_some() {
            let offsets = self.intake.splits.iter().map(|split| (split.partition, split.next));
            self.snapshots.insert(checkpoint, offsets.collect());
            while self.snapshots.len() > SNAPSHOTS_MAX {
                self.snapshots.pop_first();
            }
        }
        Ok(self.intake.splits.iter().map(PartitionSplit::encode).collect())
    }

    fn on_checkpoint_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        let later = self.snapshots.split_off(&checkpoint.next());
        let Some((_, offsets)) = std::mem::replace(&mut self.snapshots, later).pop_last() else {
            return Ok(());
        };
        let mut list = TopicPartitionList::new();
        for (partition, next) in offsets.into_iter().filter(|&(_, next)| next >= 0) {
            // Fails only for offsets that are not numbers.
            let _ = list.add_partition_offset(&self.settings.topic, partition, Offset::Offset(next));
        }
        if list.count() > 0
            && let Err(error) = self.consumer.client().commit(&list, CommitMode::Async)
        {
            tracing::warn!(topic = %self.settings.topic, %error, "offsets could not be committed for monitoring");
        }
        Ok(())
    }
}

impl<T: Record> Intake<T> {
    fn add(&mut self, split: PartitionSplit) {
        let partition = usize::try_from(split.partition).unwrap_or(0);
        if self.by_partition.len() <= partition {
            self.by_partition.resize(partition + 1, None);
        }
        self.by_partition[partition] = Some(self.splits.len());
        self.splits.push(split);
        self.batches.push(Batch::new());
    }

    fn index(&self, partition: i32) -> Option<usize> {
        self.by_partition.get(usize::try_from(partition).ok()?).copied().flatten()
    }

    fn take(&mut self, consumed: Consumed<'_>) -> Result<()> {
        match consumed {
            Consumed::Message(message) => self.take_message(&message),
            Consumed::EndOfPartition { partition, offset } => {
                self.at_end.push(partition);
                // Where the next offset was missing, the client may have gone back.
                if let Some(index) = self.index(partition).filter(|&index| !self.splits[index].is_ended()) {
                    self.splits[index].next = offset;
                }
                Ok(())
            }
            Consumed::Failed { partition, code, text } => match self.fail(partition, code, &text) {
                Err(refusal) if refusal.kind() == ErrorKind::Refused => {
                    self.refused.push((partition, refusal));
                    Ok(())
                }
                failed => failed,
            },
        }
    }

    fn take_message(&mut self, message: &KafkaMessage<'_>) -> Result<()> {
        let Some(index) = self.index(message.partition) else { return Ok(()) };
        let split = &mut self.splits[index];
        if split.is_ended() {
            return Ok(());
        }
        if split.stop.is_some_and(|stop| message.offset >= stop) {
            split.next = message.offset;
            return Ok(());
        }
        match self.decoder.decode(message) {
            Ok(record) => {
                let time = record.event_time().or(message.timestamp).unwrap_or(EventTime::MIN);
                let batch = &mut self.batches[index];
                if batch.is_empty() {
                    self.touched.push(index);
                }
                batch.push(record, time);
            }
            Err(error) if self.poison == Poison::Fail => return Err(error),
            Err(_) => {
                self.metrics.records_dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.splits[index].next = message.offset + 1;
        Ok(())
    }

    fn fail(&self, partition: i32, code: RDKafkaErrorCode, text: &str) -> Result<()> {
        let next = self.index(partition).map(|index| &self.splits[index]);
        if next.is_some_and(PartitionSplit::is_ended) {
            // Nothing more is wanted of it. librdkafka takes the position of a partition that is paused at its end for
            // one record too far: when the leader changes, it reports that the log was cut off.
            return Ok(());
        }
        let what = next.map_or_else(
            || format!("partition {partition}"),
            |split| format!("topic {}, partition {partition}, offset {}", split.topic, split.next),
        );
        if matches!(code, RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) {
            let text = format!(
                "{what}: this offset is not there (any more): {text}; records may have been deleted by retention. \
                 Restore a newer checkpoint, or choose by `.on_missing_offset(…)` where to go on"
            );
            return Err(Error::new(ErrorKind::State, text));
        }
        Err(code_failure(what, code, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_with_a_partition_that_has_ended_is_none() {
        let mut intake = Intake {
            decoder: Decoder::new(|_| Ok(0_u64)),
            poison: Poison::Fail,
            metrics: Arc::default(),
            splits: Vec::new(),
            by_partition: Vec::new(),
            batches: Vec::new(),
            touched: Vec::new(),
            at_end: Vec::new(),
            refused: Vec::new(),
        };
        for (partition, next) in [(0, 7), (1, 6)] {
            intake.add(PartitionSplit { topic: "t".into(), partition, next, stop: Some(7), topic_id: None });
        }
        let truncated = |partition| Consumed::Failed {
            partition,
            code: RDKafkaErrorCode::AutoOffsetReset,
            text: "log truncation".into(),
        };
        intake.take(truncated(0)).unwrap();
        assert_eq!(intake.take(truncated(1)).unwrap_err().kind(), ErrorKind::State);
    }
}
