//! The links of a chain: an operator with what comes after it, and the end for what nobody wants.

use std::sync::atomic::Ordering;

use super::{Downstream, Operator, OperatorContext, Output, TaskEvent};
use crate::{
    element::{Barrier, Batch, Signal},
    error::Result,
    id::{CheckpointId, OperatorUid},
    panic,
    record::Record,
    snapshot::OperatorSnapshot,
    time::{ProcessingTime, Watermark},
};

/// An operator and the link behind it.
pub struct ChainLink<O: Operator> {
    operator: O,
    context: OperatorContext,
    out: Output<O::Out>,
    /// Whether the operator may have something to fire.
    is_due: bool,
    /// The watermark that is passed on when all it made due has been fired.
    watermark: Option<Watermark>,
}

impl<O: Operator> ChainLink<O> {
    /// Links `operator` to what comes after it.
    #[must_use]
    pub fn new(operator: O, context: OperatorContext, target: Box<dyn Downstream<O::Out>>) -> Self {
        Self { operator, context, out: Output::new(target), is_due: false, watermark: None }
    }

    /// Does all that is due, before an element that must not come in between.
    #[inline]
    fn finish(&mut self) -> Result<()> {
        while self.is_due {
            self.resume()?;
        }
        Ok(())
    }

    fn pass_on_signal(&mut self, signal: Signal) -> Result<()> {
        self.operator.visit_side_outputs(&mut |side| side.signal(signal))?;
        self.out.target().signal(signal)
    }

    fn pass_on(&mut self) -> Result<()> {
        self.out.flush()?;
        self.context.metrics.records_out.fetch_add(self.out.take_emitted(), Ordering::Relaxed);
        self.operator.visit_side_outputs(&mut |side| side.flush(false))
    }

    /// Lets the operator work. Its failure names it, also when it is a panic.
    fn run<T>(
        &mut self,
        work: impl FnOnce(&mut O, &mut OperatorContext, &mut Output<O::Out>) -> Result<T>,
    ) -> Result<T> {
        let Self { operator, context, out, .. } = self;
        panic::catch(|| work(operator, context, out)).map_err(|error| {
            let OperatorContext { uid, subtask, .. } = context;
            error.context(format_args!("operator {:?}, subtask {subtask}", uid.as_str()))
        })
    }
}

impl<O: Operator> Downstream<O::In> for ChainLink<O> {
    fn open(&mut self) -> Result<()> {
        self.out.target().open()?;
        self.operator.visit_side_outputs(&mut |side| side.open())?;
        self.run(|operator, context, _| {
            operator.open(context)?;
            context.restored.check_taken()
        })
    }

    fn batch(&mut self, batch: &mut Batch<O::In>) -> Result<()> {
        self.finish()?;
        self.context.metrics.records_in.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let result = self.run(|operator, _, out| operator.process(batch, out));
        batch.clear();
        result?;
        self.pass_on()
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.finish()?;
        if let Signal::Watermark(watermark) = signal {
            self.context.metrics.watermark.store(watermark.0.0, Ordering::Relaxed);
            self.run(|operator, _, _| operator.on_watermark(watermark))?;
            self.watermark = Some(watermark);
            self.is_due = true;
            return self.resume().map(drop);
        }
        if signal == Signal::End {
            self.run(|operator, _, out| operator.on_end(out))?;
        }
        self.pass_on()?;
        self.pass_on_signal(signal)
    }

    fn barrier(
        &mut self,
        barrier: Barrier,
        snapshots: &mut Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<()> {
        self.finish()?;
        self.pass_on()?;
        let mut snapshot = self.run(|operator, _, _| operator.snapshot(barrier.checkpoint))?;
        snapshot.counters = self.context.metrics.counters();
        snapshots.push((self.context.uid.clone(), snapshot));
        self.operator.visit_side_outputs(&mut |side| side.barrier(barrier))?;
        self.out.target().barrier(barrier, snapshots)
    }

    fn event(&mut self, event: TaskEvent, committed: &mut Vec<(OperatorUid, CheckpointId)>) -> Result<()> {
        if let Some(checkpoint) = self.run(|operator, _, _| operator.on_event(event))? {
            committed.push((self.context.uid.clone(), checkpoint));
        }
        self.is_due |= matches!(event, TaskEvent::Tick(_));
        self.out.target().event(event, committed)
    }

    fn resume(&mut self) -> Result<bool> {
        if self.is_due {
            self.is_due = !self.run(|operator, _, out| operator.fire(out))?;
            self.pass_on()?;
            if self.is_due {
                return Ok(false);
            }
            if let Some(watermark) = self.watermark.take() {
                self.pass_on_signal(Signal::Watermark(watermark))?;
            }
        }
        self.out.target().resume()
    }

    fn flush(&mut self) -> Result<()> {
        self.out.flush()?;
        self.operator.visit_side_outputs(&mut |side| side.flush(true))?;
        self.out.target().flush()
    }

    fn is_ready(&mut self) -> bool {
        // No short cut: every output gets its chance to move what waits.
        let mut is_ready = self.operator.is_ready();
        is_ready &= self.out.target().is_ready();
        let visited = self.operator.visit_side_outputs(&mut |side| {
            is_ready &= side.is_ready();
            Ok(())
        });
        is_ready && visited.is_ok()
    }

    fn next_timer(&self) -> Option<ProcessingTime> {
        let later = self.out.target_ref().next_timer();
        self.operator.next_timer().into_iter().chain(later).min()
    }
}

/// The end of a chain whose records nobody wants.
#[derive(Debug, Default)]
pub struct Discard;

impl<T: Record> Downstream<T> for Discard {
    fn open(&mut self) -> Result<()> {
        Ok(())
    }
    fn batch(&mut self, batch: &mut Batch<T>) -> Result<()> {
        batch.clear();
        Ok(())
    }
    fn signal(&mut self, _signal: Signal) -> Result<()> {
        Ok(())
    }
    fn barrier(
        &mut self,
        _barrier: Barrier,
        _snapshots: &mut Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<()> {
        Ok(())
    }
    fn event(&mut self, _event: TaskEvent, _committed: &mut Vec<(OperatorUid, CheckpointId)>) -> Result<()> {
        Ok(())
    }
    fn resume(&mut self) -> Result<bool> {
        Ok(true)
    }
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
    fn is_ready(&mut self) -> bool {
        true
    }
    fn next_timer(&self) -> Option<ProcessingTime> {
        None
    }
}
