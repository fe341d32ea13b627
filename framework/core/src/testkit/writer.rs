//! Drives a sink's writer as a task does, and checks its contract.

use std::{sync::Arc, time::Duration};

use crate::{
    element::Batch,
    error::Result,
    id::{AttemptId, CheckpointId, Generation, OperatorUid, SubtaskIndex},
    operator::{Readiness, StepTime},
    record::Record,
    sink::{SinkWriter, WriterContext},
    snapshot::WriteList,
    time::{Clock, EventTime, SystemClock},
};

/// Maximum time that a writer takes for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two calls of [`SinkWriter::advance`].
const TICK: Duration = Duration::from_millis(1);
/// Maximum time for which the end of a writer holds a slot up.
const DROP_MAX: Duration = Duration::from_millis(10);
/// Writers that are dropped, of which the fastest counts: a busy machine may take the processor away from some.
const DROPS: usize = 8;

/// A writer in the hands of a test that keeps the rules of a task: it asks for readiness before each batch and each barrier, and
/// advances the writer meanwhile.
pub struct WriterHarness<T> {
    writer: Box<dyn SinkWriter<In = T>>,
    pause: fn(Duration),
}

impl<T: Record> WriterHarness<T> {
    /// Takes `writer`; `pause` sleeps.
    #[must_use]
    pub fn new(writer: Box<dyn SinkWriter<In = T>>, pause: fn(Duration)) -> Self {
        Self { writer, pause }
    }

    /// The writer, for calls that have no method of their own here.
    pub fn writer(&mut self) -> &mut dyn SinkWriter<In = T> {
        &mut *self.writer
    }

    /// Lets a tick pass, and advances the writer.
    ///
    /// # Errors
    /// The writer's.
    pub fn advance(&mut self) -> Result<()> {
        (self.pause)(TICK);
        let (now, processing_time) = (SystemClock.now(), SystemClock.processing_time());
        self.writer.advance(StepTime { now, processing_time })
    }

    /// Asks for readiness, and makes sure that a writer that is ready stays so though it is asked again.
    ///
    /// # Errors
    /// The writer's.
    ///
    /// # Panics
    /// When it does not stay ready.
    pub fn readiness(&self) -> Result<Readiness> {
        let readiness = self.writer.readiness()?;
        if readiness == Readiness::Ready {
            for _ in 0..100 {
                assert_eq!(self.writer.readiness()?, readiness, "asking has changed a writer");
            }
        }
        Ok(readiness)
    }

    /// Advances the writer until `is_so`.
    ///
    /// # Errors
    /// The writer's.
    ///
    /// # Panics
    /// When it never is: `what` says it.
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let started = SystemClock.now();
        while !is_so(self)? {
            self.advance()?;
            assert!(SystemClock.now().since(started) < PATIENCE, "never {what}");
        }
        Ok(())
    }

    /// Waits for room.
    ///
    /// # Errors
    /// The writer's.
    pub fn until_ready(&mut self) -> Result<()> {
        self.until("ready", |harness| Ok(harness.readiness()? == Readiness::Ready))
    }

    /// Writes records when there is room.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&mut self, records: Vec<T>) -> Result<()> {
        self.until_ready()?;
        let mut batch = Batch::new();
        records.into_iter().for_each(|record| batch.push(record, EventTime::MIN));
        self.writer.write(&mut batch)
    }

    /// Delivers a barrier when there is room.
    ///
    /// # Errors
    /// The writer's.
    pub fn precommit(&mut self, checkpoint: u64) -> Result<WriteList> {
        self.until_ready()?;
        self.writer.precommit(CheckpointId(checkpoint))
    }

    /// Completes a checkpoint and waits until its output is visible.
    ///
    /// # Errors
    /// The writer's.
    pub fn commit(&mut self, checkpoint: u64) -> Result<()> {
        let checkpoint = CheckpointId(checkpoint);
        self.writer.commit(checkpoint)?;
        self.until("committed", |harness| Ok(harness.writer.has_committed(checkpoint)))
    }
}

/// The context of a sink's only writer.
#[must_use]
pub fn writer_context() -> WriterContext {
    WriterContext {
        uid: OperatorUid::new("tested").expect("the name is allowed"),
        job: Arc::default(),
        subtask: SubtaskIndex(0),
        parallelism: 1,
        attempt: AttemptId(1),
        generation: Generation(1),
        metrics: Arc::default(),
    }
}

/// Leads a writer through checkpoints, of which one is given up, with records between a barrier and its closure. `records` makes
/// the records of a batch by its number, from 0 to 7: afterwards the output of all of them must be visible, each once.
///
/// # Panics
/// When the writer fails or breaks its contract.
pub fn verify_writer<T: Record>(
    writer: Box<dyn SinkWriter<In = T>>,
    records: impl Fn(u64) -> Vec<T>,
    pause: fn(Duration),
) {
    let mut harness = WriterHarness::new(writer, pause);
    for checkpoint in 1..=4 {
        harness.write(records(2 * checkpoint - 2)).expect("the writer takes records");
        let seal = harness.precommit(checkpoint).expect("the writer takes a barrier");
        harness.write(records(2 * checkpoint - 1)).expect("the writer takes records behind a barrier");
        if checkpoint == 2 {
            drop(seal);
            continue;
        }
        seal().expect("the output becomes durable");
        harness.commit(checkpoint).expect("the output becomes visible");
    }
    for checkpoint in 5..=6 {
        let seal = harness.precommit(checkpoint).expect("the writer takes a barrier");
        seal().expect("the output becomes durable");
        harness.commit(checkpoint).expect("the output becomes visible");
    }
}

/// Makes writers with work that hangs, and drops them: the slot's thread must not wait.
///
/// # Panics
/// When it does.
pub fn verify_drop<T: Record>(make: impl Fn(usize) -> Box<dyn SinkWriter<In = T>>) {
    let fastest = (0..DROPS).map(|number| {
        let writer = make(number);
        let started = SystemClock.now();
        drop(writer);
        SystemClock.now().since(started)
    });
    let fastest = fastest.min().expect("some are dropped");
    assert!(fastest < DROP_MAX, "the end of a writer holds a slot up for {fastest:?}");
}
