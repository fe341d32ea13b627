//! Firing the timers of a user-written operator, in order of time over all its timer fields.

use std::sync::Arc;

use flott_core::{
    Error, EventTime, Key, Result,
    operator::Output,
    state::{KeyBatch, SharedKeys, StateBackend},
};

use super::KeyedProcess;
use crate::function::{Context, ProcessFunction, TimerKind};

/// Timers taken out of a table at a time, and in one go until there must be room for what they emit.
const FIRED_MAX: usize = 256;

impl<K: Key, F: ProcessFunction<K>, S, B> KeyedProcess<K, F, S, B>
where
    S: Fn(&F::In) -> K + Send,
    B: StateBackend,
{
    /// Time and number of the earliest timer of a kind.
    pub(super) fn earliest(&mut self, kind: TimerKind) -> Option<(i64, usize)> {
        let numbers = F::timers().iter().enumerate().filter(|(_, of)| **of == kind);
        numbers.filter_map(|(timer, _)| Some((self.function.timer(timer).next_time()?, timer))).min()
    }

    /// Fires timers of a kind that are due at `until`, also those that callbacks register meanwhile; whether these were all.
    pub(super) fn fire_some(
        &mut self,
        kind: TimerKind,
        until: i64,
        out: &mut Output<F::Out>,
    ) -> Result<bool> {
        let (mut limit, mut gone_through) = (FIRED_MAX, 0);
        while let Some((_, timer)) = self.earliest(kind).filter(|(time, _)| *time <= until) {
            if gone_through >= FIRED_MAX {
                return Ok(false);
            }
            let mut times = std::mem::take(&mut self.times);
            times.clear();
            let keys = self.function.timer(timer).due(until, limit, &mut times);
            self.function.visit_states(&mut |state| state.begin_batch(SharedKeys::clone(&keys)));
            let result = self.fire_each(timer, &times, keys, out);
            self.function.visit_states(&mut |state| state.end_batch());
            self.times = times;
            let count = result?;
            gone_through += count;
            // A run that ends early, because another timer comes first, makes the next look-up short.
            limit = (2 * count).min(FIRED_MAX);
        }
        Ok(true)
    }

    /// Fires timers in order until another one comes first. Returns how many it has gone through, at least one.
    fn fire_each(
        &mut self,
        timer: usize,
        times: &[i64],
        keys: SharedKeys,
        out: &mut Output<F::Out>,
    ) -> Result<usize> {
        let kind = F::timers()[timer];
        let keys: Arc<KeyBatch<K>> =
            keys.downcast().map_err(|_| Error::internal("the keys of a timer are of another type"))?;
        if times.is_empty() {
            return Err(Error::internal("a table of timers has a due time but no due timer"));
        }
        self.function.visit_states(&mut |state| state.prefetch(0..times.len()));
        for (at, (&time, key)) in times.iter().zip(&keys.keys).enumerate() {
            // Looking is dear beside firing, so timers of one time are not torn apart.
            if at > 0
                && times[at - 1] < time
                && self.earliest(kind).is_some_and(|earliest| earliest < (time, timer))
            {
                return Ok(at);
            }
            if self.function.timer(timer).delete(at, time) {
                self.call_back(timer, at, key, time, out)?;
            }
        }
        Ok(times.len())
    }

    fn call_back(
        &mut self,
        timer: usize,
        at: usize,
        key: &K,
        time: i64,
        out: &mut Output<F::Out>,
    ) -> Result<()> {
        // What a processing-time timer emits has no event time, as in Flink.
        let emit_time = match F::timers()[timer] {
            TimerKind::EventTime => EventTime(time),
            TimerKind::ProcessingTime => EventTime::MIN,
        };
        out.set_time(emit_time);
        self.function.select(at, emit_time);
        let context = Context {
            event_time: EventTime(time),
            watermark: self.watermark,
            processing_time: self.processing_time,
        };
        self.function.on_timer(timer, key, &context, out)
    }
}
