//! Runs one operator alone, with values in and values out.

use std::{fmt::Debug, sync::Arc};

use super::{Collector, Seen};
use crate::{
    element::{Barrier, Batch, Signal},
    error::Result,
    id::{AttemptId, CheckpointId, Generation, OperatorUid, SubtaskIndex},
    key_group::{KeyGroup, MaxParallelism},
    operator::{ChainLink, Downstream, Operator, OperatorContext, OperatorMetrics, StepTime, TaskEvent},
    record::Record,
    snapshot::{KeyedSnapshotSink, OperatorSnapshot, RestoredKeyed, RestoredOperator, StateContent, Written},
    time::{EventTime, MonotonicTime, ProcessingTime, Watermark},
};

/// One thing that happens to an operator.
#[derive(Debug)]
pub enum Step<T> {
    /// Records with their event times in milliseconds, `i64::MIN` for none.
    Records(Vec<(T, i64)>),
    /// Event time reaches this point.
    Watermark(i64),
    /// Processing time reaches this point.
    Tick(i64),
    /// The input ends.
    End,
}

/// An operator between a test and a [`Collector`].
pub struct OperatorHarness<O: Operator> {
    link: ChainLink<O>,
    output: Collector<O::Out>,
    metrics: Arc<OperatorMetrics>,
    checkpoint: CheckpointId,
    committed: Vec<(OperatorUid, CheckpointId)>,
}

impl<O: Operator> OperatorHarness<O> {
    /// Opens `operator` as the only subtask of its job.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn new(operator: O) -> Result<Self> {
        Self::with_state(operator, RestoredOperator::default())
    }

    /// Opens `operator` with restored state.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn with_state(operator: O, restored: RestoredOperator) -> Result<Self> {
        Self::in_context(operator, context(restored))
    }

    /// Opens `operator` as the subtask that the context describes.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn in_context(operator: O, context: OperatorContext) -> Result<Self> {
        let metrics = Arc::clone(&context.metrics);
        let output = Collector::default();
        let mut link = ChainLink::new(operator, context, Box::new(output.clone()));
        link.open()?;
        Ok(Self { link, output, metrics, checkpoint: CheckpointId(0), committed: Vec::new() })
    }

    /// What the operator counts.
    #[must_use]
    pub fn metrics(&self) -> &OperatorMetrics {
        &self.metrics
    }

    /// The link with the operator, for calls that have no method of their own here.
    pub fn link(&mut self) -> &mut ChainLink<O> {
        &mut self.link
    }

    /// What the operator has emitted since the last call.
    pub fn take(&mut self) -> Vec<Seen<O::Out>> {
        self.output.take()
    }

    /// Gives the operator records as one batch.
    ///
    /// # Errors
    /// The operator's.
    pub fn records(&mut self, records: impl IntoIterator<Item = (O::In, i64)>) -> Result<()> {
        let mut batch = Batch::new();
        for (record, time) in records {
            batch.push(record, EventTime(time));
        }
        self.link.batch(&mut batch)
    }

    /// Advances event time.
    ///
    /// # Errors
    /// The operator's.
    pub fn watermark(&mut self, time: i64) -> Result<()> {
        self.link.signal(Signal::Watermark(Watermark(EventTime(time))))?;
        self.fire_all()
    }

    /// Advances processing time, in milliseconds.
    ///
    /// # Errors
    /// The operator's.
    pub fn tick(&mut self, time: i64) -> Result<()> {
        let now = MonotonicTime::from_millis(time.unsigned_abs());
        self.event(TaskEvent::Tick(StepTime { now, processing_time: ProcessingTime(time) }))?;
        self.fire_all()
    }

    /// Completes a checkpoint.
    ///
    /// # Errors
    /// The operator's.
    pub fn complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.event(TaskEvent::CheckpointComplete(checkpoint))
    }

    /// The checkpoints that the operator, a sink, has committed since the last call.
    pub fn take_committed(&mut self) -> Vec<CheckpointId> {
        self.committed.drain(..).map(|(_, checkpoint)| checkpoint).collect()
    }

    fn event(&mut self, event: TaskEvent) -> Result<()> {
        self.link.event(event, &mut self.committed)
    }

    fn fire_all(&mut self) -> Result<()> {
        while !self.link.resume()? {}
        Ok(())
    }

    /// Ends the input.
    ///
    /// # Errors
    /// The operator's.
    pub fn end(&mut self) -> Result<()> {
        self.link.signal(Signal::End)
    }

    /// Sends a barrier and returns what a new instance would be restored from.
    ///
    /// # Errors
    /// The operator's.
    pub fn snapshot(&mut self) -> Result<RestoredOperator> {
        self.checkpoint = self.checkpoint.next();
        let mut snapshots = Vec::new();
        self.link.barrier(Barrier { checkpoint: self.checkpoint }, &mut snapshots)?;
        let (_, snapshot) = snapshots.remove(0);
        restored(snapshot)
    }

    fn step(&mut self, step: &Step<O::In>, is_batched: bool) -> Result<()> {
        match step {
            Step::Records(records) if is_batched => {
                self.records(records.iter().map(|(record, time)| (record.duplicate(), *time)))
            }
            Step::Records(records) => {
                records.iter().try_for_each(|(record, time)| self.records([(record.duplicate(), *time)]))
            }
            Step::Watermark(time) => self.watermark(*time),
            Step::Tick(time) => self.tick(*time),
            Step::End => self.end(),
        }
    }
}

/// What the only subtask of a job learns when it starts.
#[must_use]
pub fn context(restored: RestoredOperator) -> OperatorContext {
    OperatorContext {
        job: Arc::default(),
        uid: OperatorUid::new("tested").expect("the name is allowed"),
        subtask: SubtaskIndex(0),
        parallelism: 1,
        max_parallelism: MaxParallelism::default(),
        attempt: AttemptId(1),
        generation: Generation(1),
        restored_checkpoint: None,
        restored,
        metrics: Arc::default(),
    }
}

/// What a subtask would be restored from, after a checkpoint with this snapshot. Lists are left out.
///
/// # Errors
/// When the state cannot be written.
pub fn restored(snapshot: OperatorSnapshot) -> Result<RestoredOperator> {
    struct Groups(Vec<(KeyGroup, Vec<u8>)>);
    impl KeyedSnapshotSink for Groups {
        fn key_group(&mut self, group: KeyGroup, _entries: u64, bytes: &[u8]) -> Result<()> {
            self.0.push((group, bytes.to_vec()));
            Ok(())
        }
    }
    let mut restored = RestoredOperator::default();
    for state in snapshot.states {
        if let StateContent::Keyed(write) = state.content {
            let mut groups = Groups(Vec::new());
            write(&mut groups)?;
            let name = state.declaration.name.clone();
            let written = Some(Written::Declared(state.declaration));
            restored.keyed.insert(name, RestoredKeyed { written, groups: groups.0 });
        }
    }
    Ok(restored)
}

/// Runs a script record by record, in batches, and with a snapshot and restore after every step; asserts that the
/// three agree, and returns what was emitted.
///
/// After a restore event time and processing time come back to where they were before the script goes on, as they do
/// when a source starts again. What the operator emits meanwhile counts as emitted.
///
/// # Panics
/// When an operator fails or two runs differ.
pub fn verify<O>(make: impl Fn() -> O, script: &[Step<O::In>]) -> Vec<Seen<O::Out>>
where
    O: Operator,
    O::Out: Debug + PartialEq,
{
    let whole = run(&make, script, true, false).expect("the script runs in batches");
    let single = run(&make, script, false, false).expect("the script runs record by record");
    assert_eq!(single, whole, "record by record (left) and in batches (right) differ");
    let restored = run(&make, script, true, true).expect("the script runs with restores");
    assert_eq!(restored, whole, "with restores (left) and without (right) differ");
    whole
}

fn run<O: Operator>(
    make: &impl Fn() -> O,
    script: &[Step<O::In>],
    is_batched: bool,
    is_restored: bool,
) -> Result<Vec<Seen<O::Out>>> {
    let mut harness = OperatorHarness::new(make())?;
    let mut seen = Vec::new();
    let (mut watermark, mut tick) = (None, None);
    for step in script {
        harness.step(step, is_batched)?;
        match step {
            Step::Watermark(time) => watermark = Some(*time),
            Step::Tick(time) => tick = Some(*time),
            _ => {}
        }
        seen.append(&mut harness.take());
        if is_restored {
            harness = OperatorHarness::with_state(make(), harness.snapshot()?)?;
            watermark.into_iter().try_for_each(|time| harness.watermark(time))?;
            tick.into_iter().try_for_each(|time| harness.tick(time))?;
            seen.extend(harness.take().into_iter().filter(|seen| matches!(seen, Seen::Record(..))));
        }
    }
    Ok(seen)
}

/// A side output target for [`Operator::bind_side_output`], and where to look at it.
#[must_use]
pub fn side_target<T: Record>() -> (Box<dyn std::any::Any + Send>, Collector<T>) {
    let collector = Collector::default();
    let target: Box<dyn Downstream<T>> = Box::new(collector.clone());
    (Box::new(target), collector)
}
