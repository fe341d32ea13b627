//! Runs a user-written operator on a keyed stream.

use std::any::Any;

use flott_core::{
    Batch, CheckpointId, EventTime, Key, ProcessingTime, Result, Watermark,
    operator::{Operator, OperatorContext, Output, SideLink, TaskEvent},
    snapshot::OperatorSnapshot,
    state::{StateBackend, StateBinder},
};

use super::{BatchKeys, prefetch_range};
use crate::function::{Context, ProcessFunction, TimerKind};

/// A [`ProcessFunction`] as an operator: gives it one record after the other with its key's state, and calls it back
/// when timers fire.
///
/// Timers fire in order of time, event-time timers when the watermark reaches them, processing-time timers at the first
/// tick at or after them, when there is room for what they emit. One that a callback registers fires in the same go if it
/// is due. At the end of the input the
/// watermark becomes [`Watermark::MAX`], so that every event-time timer fires; processing-time timers that are not due
/// never do, as in Flink. A callback that always sets the next event-time timer must therefore stop when it sees
/// `context.watermark == Watermark::MAX`, or the job does not end.
///
/// After a restore the watermark starts at [`Watermark::MIN`] and the timers are those of the checkpoint.
pub struct KeyedProcess<K, F, S, B> {
    pub(super) function: F,
    key: S,
    backend: B,
    keys: BatchKeys<K>,
    pub(super) watermark: Watermark,
    pub(super) processing_time: ProcessingTime,
    /// The earliest processing-time timer. Kept, since looking it up needs `&mut`.
    next_tick: Option<ProcessingTime>,
    has_ended: bool,
    /// Up to when event-time timers are being fired.
    event_due: Option<Watermark>,
    /// Up to when processing-time timers are being fired.
    processing_due: Option<ProcessingTime>,
    pub(super) times: Vec<i64>,
}

impl<K: Key, F: ProcessFunction<K>, S, B> KeyedProcess<K, F, S, B>
where
    S: Fn(&F::In) -> K + Send,
    B: StateBackend,
{
    /// Runs `function` on the keys that `key` finds in its records, with its state in `backend`.
    pub fn new(function: F, key: S, backend: B) -> Self {
        Self {
            function,
            key,
            backend,
            keys: BatchKeys::default(),
            watermark: Watermark::MIN,
            processing_time: ProcessingTime::default(),
            next_tick: None,
            has_ended: false,
            event_due: None,
            processing_due: None,
            times: Vec::new(),
        }
    }

    fn process_each(&mut self, batch: &mut Batch<F::In>, out: &mut Output<F::Out>) -> Result<()> {
        let (keys, len) = (self.keys.as_slice(), batch.len());
        let mut context = Context {
            event_time: EventTime::MIN,
            watermark: self.watermark,
            processing_time: self.processing_time,
        };
        for (at, (record, time)) in batch.drain().enumerate() {
            if let Some(range) = prefetch_range(at, len) {
                self.function.visit_states(&mut |state| state.prefetch(range.clone()));
            }
            context.event_time = time;
            out.set_time(time);
            self.function.select(at, time);
            self.function.process(&keys[at], record, &context, out)?;
        }
        Ok(())
    }

    fn look_up_next_tick(&mut self) {
        let next = if self.has_ended { None } else { self.earliest(TimerKind::ProcessingTime) };
        self.next_tick = next.map(|(time, _)| ProcessingTime(time));
    }
}

impl<K: Key, F: ProcessFunction<K>, S, B> Operator for KeyedProcess<K, F, S, B>
where
    S: Fn(&F::In) -> K + Send,
    B: StateBackend,
{
    type In = F::In;
    type Out = F::Out;

    fn open(&mut self, context: &mut OperatorContext) -> Result<()> {
        let keys = context.keys();
        let (backend, restored) = (&mut self.backend, &mut context.restored);
        self.function.bind::<K, B>(&mut StateBinder { backend, restored, keys })?;
        self.look_up_next_tick();
        Ok(())
    }

    fn process(&mut self, batch: &mut Batch<F::In>, out: &mut Output<F::Out>) -> Result<()> {
        self.keys.fill(batch.records.iter().map(&self.key));
        let keys = &self.keys;
        self.function.visit_states(&mut |state| state.begin_batch(keys.share()));
        let result = self.process_each(batch, out);
        self.function.visit_states(&mut |state| state.end_batch());
        self.look_up_next_tick();
        result
    }

    fn on_watermark(&mut self, watermark: Watermark) -> Result<()> {
        self.watermark = watermark;
        self.event_due = Some(watermark);
        Ok(())
    }

    fn on_event(&mut self, event: TaskEvent) -> Result<Option<CheckpointId>> {
        if let TaskEvent::Tick(time) = event {
            self.processing_time = time.processing_time;
            if self.next_tick.is_some_and(|next| next <= time.processing_time) {
                self.processing_due = Some(time.processing_time);
            }
        }
        Ok(None)
    }

    fn fire(&mut self, out: &mut Output<F::Out>) -> Result<bool> {
        if let Some(Watermark(EventTime(until))) = self.event_due {
            if !self.fire_some(TimerKind::EventTime, until, out)? {
                return Ok(false);
            }
            self.event_due = None;
            self.look_up_next_tick();
        }
        if let Some(ProcessingTime(until)) = self.processing_due {
            if !self.fire_some(TimerKind::ProcessingTime, until, out)? {
                return Ok(false);
            }
            self.processing_due = None;
            self.look_up_next_tick();
        }
        Ok(true)
    }

    /// Ticks go on until the job has ended, but nothing may come behind the end.
    fn on_end(&mut self, _out: &mut Output<F::Out>) -> Result<()> {
        self.has_ended = true;
        self.next_tick = None;
        self.processing_due = None;
        Ok(())
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OperatorSnapshot> {
        let mut states = Vec::new();
        self.function.visit_states(&mut |state| states.push(state.snapshot()));
        Ok(OperatorSnapshot::new(states))
    }

    fn next_timer(&self) -> Option<ProcessingTime> {
        self.next_tick
    }

    fn bind_side_output(&mut self, name: &str, downstream: Box<dyn Any + Send>) -> Result<()> {
        self.function.bind_side_output(name, downstream)
    }

    fn visit_side_outputs(&mut self, visitor: &mut dyn FnMut(&mut dyn SideLink) -> Result<()>) -> Result<()> {
        self.function.visit_side_outputs(visitor)
    }
}
