//! The end of a job: hands records to a sink's writer and walks it through two-phase commit.

use std::sync::{Arc, atomic::Ordering};

use flott_core::{
    Batch, CheckpointId, Record, Result,
    operator::{Operator, OperatorContext, OperatorMetrics, Output, TaskEvent},
    sink::{COMMITTABLES_STATE, SinkWriter},
    snapshot::{OperatorSnapshot, StateContent, StateSnapshot},
};

/// A [`SinkWriter`] as an operator without output.
///
/// A barrier precommits what was written before it; the committables go into the checkpoint as the list state
/// [`COMMITTABLES_STATE`]. A completed checkpoint commits, and
/// [`committed_checkpoint`](OperatorMetrics::committed_checkpoint) says when the writer is done with it. The end of the
/// input does nothing: the job's last checkpoint commits what is left.
pub struct SinkOperator<T> {
    writer: Box<dyn SinkWriter<In = T>>,
    /// The newest checkpoint that the writer was told to commit, until it has done so.
    committing: Option<CheckpointId>,
    metrics: Arc<OperatorMetrics>,
}

impl<T: Record> SinkOperator<T> {
    /// Writes by `writer`.
    #[must_use]
    pub fn new(writer: Box<dyn SinkWriter<In = T>>) -> Self {
        Self { writer, committing: None, metrics: Arc::default() }
    }

    fn report_commit(&mut self) {
        if let Some(checkpoint) = self.committing.take_if(|checkpoint| self.writer.has_committed(*checkpoint))
        {
            self.metrics.committed_checkpoint.store(checkpoint.0, Ordering::Release);
        }
    }
}

impl<T: Record> Operator for SinkOperator<T> {
    type In = T;
    type Out = ();

    fn open(&mut self, context: &mut OperatorContext) -> Result<()> {
        self.metrics = Arc::clone(&context.metrics);
        Ok(())
    }

    fn process(&mut self, batch: &mut Batch<T>, _out: &mut Output<()>) -> Result<()> {
        self.writer.write(batch)
    }

    fn on_event(&mut self, event: TaskEvent) -> Result<()> {
        match event {
            TaskEvent::Tick(time) => self.writer.tick(time)?,
            TaskEvent::CheckpointComplete(checkpoint) => {
                self.writer.commit(checkpoint)?;
                self.committing = Some(checkpoint);
            }
        }
        self.report_commit();
        Ok(())
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<OperatorSnapshot> {
        let content = StateContent::List(self.writer.precommit(checkpoint)?);
        let (name, schema) = (COMMITTABLES_STATE.into(), Vec::<u8>::schema());
        Ok(OperatorSnapshot::new(vec![StateSnapshot { name, schema, content }]))
    }

    fn is_ready(&mut self) -> bool {
        self.writer.is_ready()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use flott_core::{
        Barrier,
        operator::{Downstream, StepTime},
        snapshot::WriteList,
        testkit::OperatorHarness,
    };

    use super::*;

    struct Logged {
        log: Sender<String>,
        written: u64,
        /// A commit takes until the tick at this time.
        committed_at: i64,
        is_committed: bool,
    }

    impl Logged {
        fn note(&self, text: String) {
            self.log.send(text).expect("the test listens");
        }
    }

    impl SinkWriter for Logged {
        type In = u64;
        fn write(&mut self, batch: &mut Batch<u64>) -> Result<()> {
            self.written += batch.records.iter().sum::<u64>();
            Ok(())
        }
        fn is_ready(&mut self) -> bool {
            self.written < 100
        }
        fn precommit(&mut self, checkpoint: CheckpointId) -> Result<WriteList> {
            self.note(format!("precommit {checkpoint}"));
            let written = std::mem::take(&mut self.written);
            Ok(Box::new(move || Ok(vec![written.to_le_bytes().to_vec()])))
        }
        fn commit(&mut self, checkpoint: CheckpointId) -> Result<()> {
            self.note(format!("commit {checkpoint}"));
            Ok(())
        }
        fn has_committed(&mut self, _checkpoint: CheckpointId) -> bool {
            self.is_committed
        }
        fn tick(&mut self, time: StepTime) -> Result<()> {
            self.note(format!("tick {}", time.processing_time.0));
            self.is_committed = time.processing_time.0 >= self.committed_at;
            Ok(())
        }
    }

    #[test]
    fn barriers_precommit_and_completed_checkpoints_commit() {
        let (log, noted) = channel();
        let writer = Logged { log, written: 0, committed_at: 6, is_committed: false };
        let operator = SinkOperator::new(Box::new(writer));
        let mut harness = OperatorHarness::new(operator).unwrap();
        harness.records([(40, 0), (2, 0)]).unwrap();
        let mut snapshots = Vec::new();
        harness.link().barrier(Barrier { checkpoint: CheckpointId(7) }, &mut snapshots).unwrap();
        harness.records([(1000, 0)]).unwrap();
        let (_, mut snapshot) = snapshots.pop().unwrap();
        let state = snapshot.states.pop().unwrap();
        assert_eq!(state.name, COMMITTABLES_STATE);
        let StateContent::List(write) = state.content else { panic!("committables are a list") };
        assert_eq!(write().unwrap(), [42u64.to_le_bytes()]);
        harness.tick(5).unwrap();
        harness.link().event(TaskEvent::CheckpointComplete(CheckpointId(7))).unwrap();
        assert!(noted.try_iter().eq(["precommit 7", "tick 5", "commit 7"]));
        assert!(!Downstream::<u64>::is_ready(harness.link()));
        let committed =
            |harness: &OperatorHarness<_>| harness.metrics().committed_checkpoint.load(Ordering::Acquire);
        assert_eq!(committed(&harness), 0);
        harness.tick(6).unwrap();
        assert_eq!(committed(&harness), 7);
    }
}
