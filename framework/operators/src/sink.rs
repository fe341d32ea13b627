//! The end of a job: hands records to a sink's writer and walks it through two-phase commit.

use flott_core::{
    Batch, CheckpointId, ProcessingTime, Record, Result,
    operator::{Operator, Output, Readiness, TaskEvent},
    sink::{COMMITTABLES_STATE, SinkWriter},
    snapshot::{OperatorSnapshot, StateContent, StateSnapshot},
    state::StateDeclaration,
};

/// A [`SinkWriter`] as an operator without output.
///
/// A barrier precommits what was written before it; the committables go into the checkpoint as the list state
/// [`COMMITTABLES_STATE`]. A completed checkpoint commits. The writer may do that in the background; the sink reports the
/// checkpoint at the first event after that. The end of the input does nothing: the job's last checkpoint commits what is
/// left.
pub struct SinkOperator<T> {
    writer: Box<dyn SinkWriter<In = T>>,
    /// The newest checkpoint that the writer was told to commit, until it has done so.
    committing: Option<CheckpointId>,
}

impl<T: Record> SinkOperator<T> {
    /// Writes by `writer`.
    #[must_use]
    pub fn new(writer: Box<dyn SinkWriter<In = T>>) -> Self {
        Self { writer, committing: None }
    }

    /// Fails if the writer has failed in the background.
    fn check(&self) -> Result<()> {
        self.writer.readiness().map(drop)
    }
}

impl<T: Record> Operator for SinkOperator<T> {
    type In = T;
    type Out = ();

    fn process(&mut self, batch: &mut Batch<T>, _out: &mut Output<()>) -> Result<()> {
        self.check()?;
        self.writer.write(batch)
    }

    fn on_event(&mut self, event: TaskEvent) -> Result<Option<CheckpointId>> {
        match event {
            TaskEvent::Tick(time) => self.writer.advance(time)?,
            TaskEvent::CheckpointComplete(checkpoint) => {
                self.writer.commit(checkpoint)?;
                self.committing = Some(checkpoint);
            }
        }
        Ok(self.committing.take_if(|checkpoint| self.writer.has_committed(*checkpoint)))
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<OperatorSnapshot> {
        self.check()?;
        let content = StateContent::List(self.writer.precommit(checkpoint)?);
        let declaration = StateDeclaration::operator_list::<Vec<u8>>(COMMITTABLES_STATE);
        Ok(OperatorSnapshot::new(vec![StateSnapshot { declaration, content }]))
    }

    fn is_ready(&mut self) -> bool {
        // A writer that has failed is given the next element, which finds that out.
        !matches!(self.writer.readiness(), Ok(Readiness::Full))
    }

    /// Room in the writer, its failure and a commit in the background are noticed by a tick: as soon as possible, however
    /// idle the task is. A bounded job waits for the commit, and its input for room.
    fn next_timer(&self) -> Option<ProcessingTime> {
        let is_awaited =
            self.committing.is_some() || !matches!(self.writer.readiness(), Ok(Readiness::Ready));
        is_awaited.then_some(ProcessingTime(i64::MIN))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use flott_core::{
        Barrier, Error, OperatorUid, Signal,
        operator::{ChainLink, Discard, Downstream, OperatorContext, StepTime},
        snapshot::{RestoredOperator, WriteList},
        testkit::{OperatorHarness, context},
    };

    use super::*;
    use crate::fanout::Fanout;

    /// A number of records with which the writer has failed.
    const BROKEN: u64 = 500;

    struct Logged {
        log: Sender<String>,
        written: u64,
        /// A commit takes until the tick at this time.
        committed_at: i64,
        is_committed: bool,
    }

    impl Logged {
        fn note(&self, text: String) {
            // Not every test listens.
            let _ = self.log.send(text);
        }
    }

    impl SinkWriter for Logged {
        type In = u64;
        fn write(&mut self, batch: &mut Batch<u64>) -> Result<()> {
            self.written += batch.records.iter().sum::<u64>();
            Ok(())
        }
        fn readiness(&self) -> Result<Readiness> {
            match self.written {
                0..100 => Ok(Readiness::Ready),
                BROKEN => Err(Error::transient("the disk is gone")),
                _ => Ok(Readiness::Full),
            }
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
        fn has_committed(&self, _checkpoint: CheckpointId) -> bool {
            self.is_committed
        }
        fn advance(&mut self, time: StepTime) -> Result<()> {
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
        assert_eq!(state.declaration.name, COMMITTABLES_STATE);
        let StateContent::List(write) = state.content else { panic!("committables are a list") };
        assert_eq!(write().unwrap(), [42u64.to_le_bytes()]);
        harness.tick(5).unwrap();
        harness.complete(CheckpointId(7)).unwrap();
        assert!(noted.try_iter().eq(["precommit 7", "tick 5", "commit 7"]));
        assert!(!Downstream::<u64>::is_ready(harness.link()));
        assert_eq!(harness.take_committed(), []);
        harness.tick(6).unwrap();
        assert_eq!(harness.take_committed(), [CheckpointId(7)]);
        harness.tick(7).unwrap();
        assert_eq!(harness.take_committed(), []);
    }

    /// A sink whose commit takes until the tick at `committed_at`.
    fn sink(committed_at: i64) -> SinkOperator<u64> {
        let (log, _) = channel();
        SinkOperator::new(Box::new(Logged { log, written: 0, committed_at, is_committed: false }))
    }

    #[test]
    fn a_full_writer_stalls_its_task_and_asks_for_ticks() {
        let mut harness = OperatorHarness::new(sink(6)).unwrap();
        let wakes =
            |harness: &mut OperatorHarness<_>| Downstream::<u64>::next_timer(harness.link()).is_some();
        harness.records([(99, 0)]).unwrap();
        assert!(Downstream::<u64>::is_ready(harness.link()) && !wakes(&mut harness));
        harness.records([(1, 0)]).unwrap();
        assert!(!Downstream::<u64>::is_ready(harness.link()) && wakes(&mut harness));
    }

    #[test]
    fn a_writer_that_has_failed_in_the_background_fails_at_the_next_element() {
        let mut harness = OperatorHarness::new(sink(6)).unwrap();
        harness.records([(BROKEN, 0)]).unwrap();
        assert!(Downstream::<u64>::is_ready(harness.link()), "so that an element comes");
        assert!(Downstream::<u64>::next_timer(harness.link()).is_some());
        assert!(harness.records([(1, 0)]).unwrap_err().to_string().contains("the disk is gone"));
        assert!(harness.snapshot().is_err_and(|error| error.to_string().contains("the disk is gone")));
    }

    #[test]
    fn a_sink_that_commits_wants_to_be_told_the_time_at_once() {
        let mut harness = OperatorHarness::new(sink(6)).unwrap();
        harness.end().unwrap();
        assert_eq!(Downstream::<u64>::next_timer(harness.link()), None);
        harness.complete(CheckpointId(7)).unwrap();
        assert_eq!(Downstream::<u64>::next_timer(harness.link()), Some(ProcessingTime(i64::MIN)));
        harness.tick(6).unwrap();
        assert_eq!(Downstream::<u64>::next_timer(harness.link()), None);
    }

    #[test]
    fn sinks_of_one_chain_report_each_for_itself_also_after_the_end() {
        let link = |uid: &str, committed_at| {
            let context = OperatorContext {
                uid: OperatorUid::new(uid).unwrap(),
                ..context(RestoredOperator::default())
            };
            Box::new(ChainLink::new(sink(committed_at), context, Box::new(Discard))) as _
        };
        let mut chain: Fanout<u64> = Fanout::new(vec![link("early", 5), link("late", 6)]);
        chain.signal(Signal::End).unwrap();
        let mut committed = |event| {
            let mut committed = Vec::new();
            chain.event(event, &mut committed).unwrap();
            committed.into_iter().map(|(uid, id)| format!("{uid} {id}")).collect::<Vec<_>>()
        };
        let tick =
            |time| TaskEvent::Tick(StepTime { processing_time: ProcessingTime(time), ..StepTime::default() });
        let complete = |id| TaskEvent::CheckpointComplete(CheckpointId(id));
        assert_eq!(committed(complete(7)), [""; 0]);
        assert_eq!(committed(tick(5)), ["early 7"]);
        // The late sink skips what a newer checkpoint commits as well.
        assert_eq!(committed(complete(8)), ["early 8"]);
        assert_eq!(committed(tick(6)), ["late 8"]);
        assert_eq!(committed(complete(9)), ["early 9", "late 9"]);
        assert_eq!(committed(tick(7)), [""; 0]);
    }
}
