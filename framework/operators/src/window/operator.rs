//! Keeps one accumulator per window and key, and fires windows when the watermark passes their end.

use std::{
    any::Any,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use flott_core::{
    BATCH_RECORDS_MAX, Batch, CheckpointId, Error, EventTime, Key, Record, Result, Watermark,
    operator::{Operator, OperatorContext, OperatorMetrics, Output, SideLink, SideOutput},
    snapshot::OperatorSnapshot,
    state::{StateBackend, StateBinder, StateDeclaration},
};

use super::{
    Aggregate, TumblingWindows, Window,
    tables::{Tables, add},
};
use crate::keyed::{BatchKeys, parts, prefetch_range};

/// Results that are emitted in one go, and the rest of a part of a window, until there must be room for more.
const FIRED_MAX: usize = BATCH_RECORDS_MAX;

/// Name of the side output for records that come too late for their window.
pub const LATE: &str = "late";

/// Aggregates the records of a key per window.
///
/// A window fires when the watermark reaches its last millisecond, and its results have that event time. Windows fire
/// in order of time. A record is late when its window has fired and the allowed lateness is over; it goes to the side
/// output [`LATE`] or, where nobody reads that, is counted in
/// [`records_dropped`](OperatorMetrics::records_dropped).
///
/// With allowed lateness a fired window is kept until the lateness is over, and each record that still comes for it
/// makes it fire again for that record's key.
///
/// Windows are restored only as windows of the same size and offset, which their state is named after. With others the job
/// is refused, unless it starts from an empty checkpoint directory.
pub struct WindowOperator<K: Key, T: Record, A: Aggregate<K, T>, S, B> {
    aggregate: A,
    key: S,
    backend: B,
    progress: Progress,
    tables: Option<Tables<K, A::Accumulator>>,
    keys: BatchKeys<K>,
    late: Late<T>,
}

impl<K, T, A, S, B> WindowOperator<K, T, A, S, B>
where
    K: Key,
    T: Record,
    A: Aggregate<K, T>,
    S: Fn(&T) -> K + Send,
    B: StateBackend,
{
    /// Aggregates by `aggregate` in `windows`, per key that `key` finds in the records, with state in `backend`.
    pub fn new(windows: TumblingWindows, aggregate: A, key: S, backend: B) -> Self {
        let progress = Progress { windows, watermark: Watermark::MIN };
        let late = Late { side: SideOutput::default(), is_read: false, metrics: Arc::default() };
        Self { aggregate, key, backend, progress, tables: None, keys: BatchKeys::default(), late }
    }

    /// The state that it takes with these windows: also that of fired windows, which it may find where lateness was
    /// allowed before.
    #[must_use]
    pub fn declarations(windows: &TumblingWindows) -> Vec<StateDeclaration> {
        Tables::<K, A::Accumulator>::declarations(windows)
    }

    fn add_each(&mut self, batch: &Batch<T>, out: &mut Output<A::Out>) -> Result<()> {
        for part in parts(batch.len()) {
            if let Some(range) = prefetch_range(part.start, batch.len()) {
                self.tables.as_mut().ok_or_else(not_open)?.open.prefetch(range);
            }
            let mut rest = part;
            while !rest.is_empty() {
                // Most records belong to the window of the record before.
                let window = self.progress.window(batch.time(rest.start))?;
                let others = rest.start + 1..rest.end;
                let same = 1 + others.take_while(|at| window.contains(batch.time(*at))).count();
                let run = rest.start..rest.start + same;
                rest.start = run.end;
                self.add_run(window, run, batch, out)?;
            }
        }
        Ok(())
    }

    /// Adds records of one window.
    fn add_run(
        &mut self,
        window: Window,
        run: Range<usize>,
        batch: &Batch<T>,
        out: &mut Output<A::Out>,
    ) -> Result<()> {
        let Self { aggregate, progress, keys, late, .. } = self;
        let tables = self.tables.as_mut().ok_or_else(not_open)?;
        let phase = progress.phase(window, tables);
        let records = &batch.records;
        match (phase, &mut tables.fired) {
            (Phase::Over, _) => run.for_each(|at| late.take(&records[at], batch.time(at))),
            (Phase::Fired | Phase::PerKey, Some(fired)) => {
                for at in run {
                    if matches!(phase, Phase::PerKey) && fired.get(window.start, at).is_none() {
                        add(&mut *tables.open, aggregate, window, at..at + 1, records);
                        continue;
                    }
                    add(&mut **fired, aggregate, window, at..at + 1, records);
                    if let Some(accumulator) = fired.get(window.start, at) {
                        let result = aggregate.finish(&keys.as_slice()[at], window, accumulator.duplicate());
                        out.emit_at(result, window.max_time());
                    }
                }
            }
            _ => add(&mut *tables.open, aggregate, window, run, records),
        }
        Ok(())
    }

    /// Fires open windows that the watermark has reached; whether these were all.
    fn fire_some(&mut self, out: &mut Output<A::Out>) -> Result<bool> {
        let Self { aggregate, progress: Progress { windows, watermark }, .. } = self;
        let tables = self.tables.as_mut().ok_or_else(not_open)?;
        let mut fired = 0;
        while let Some(start) = tables.open.first_window() {
            let window = windows.window(start);
            if !window.is_over(0, *watermark) {
                break;
            }
            if fired >= FIRED_MAX {
                return Ok(false);
            }
            let is_kept = !window.is_over(windows.lateness_ms(), *watermark);
            let mut kept = Vec::new();
            tables.open.take_window(start, FIRED_MAX - fired, &mut |key, accumulator| {
                fired += 1;
                if is_kept {
                    kept.push((key.duplicate(), accumulator.duplicate()));
                }
                out.emit_at(aggregate.finish(key, window, accumulator), window.max_time());
                Ok(())
            })?;
            tables.keep_fired(window, kept);
        }
        Ok(true)
    }

    /// Forgets the fired windows whose lateness is over.
    fn forget(&mut self) -> Result<()> {
        let Progress { windows, watermark } = self.progress;
        let tables = self.tables.as_mut().ok_or_else(not_open)?;
        let Some(fired) = &mut tables.fired else { return Ok(()) };
        let is_over = |start: &EventTime| windows.window(*start).is_over(windows.lateness_ms(), watermark);
        while let Some(start) = fired.first_window().filter(is_over) {
            fired.take_window(start, usize::MAX, &mut |_, _| Ok(()))?;
        }
        Ok(())
    }
}

impl<K, T, A, S, B> Operator for WindowOperator<K, T, A, S, B>
where
    K: Key,
    T: Record,
    A: Aggregate<K, T>,
    S: Fn(&T) -> K + Send,
    B: StateBackend,
{
    type In = T;
    type Out = A::Out;

    fn open(&mut self, context: &mut OperatorContext) -> Result<()> {
        self.progress.windows.check()?;
        self.late.metrics = Arc::clone(&context.metrics);
        let keys = context.keys();
        let (backend, restored) = (&mut self.backend, &mut context.restored);
        let mut binder = StateBinder { backend, restored, keys };
        self.tables = Some(Tables::bind(&self.progress.windows, &mut binder)?);
        Ok(())
    }

    fn process(&mut self, batch: &mut Batch<T>, out: &mut Output<A::Out>) -> Result<()> {
        self.keys.fill(batch.records.iter().map(&self.key));
        self.tables.as_mut().ok_or_else(not_open)?.begin_batch(&self.keys);
        let result = self.add_each(batch, out);
        self.tables.as_mut().ok_or_else(not_open)?.end_batch();
        result
    }

    fn on_watermark(&mut self, watermark: Watermark) -> Result<()> {
        self.progress.watermark = watermark;
        Ok(())
    }

    fn fire(&mut self, out: &mut Output<A::Out>) -> Result<bool> {
        let is_done = self.fire_some(out)?;
        if is_done {
            self.forget()?;
        }
        Ok(is_done)
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OperatorSnapshot> {
        Ok(self.tables.as_mut().ok_or_else(not_open)?.snapshot())
    }

    fn bind_side_output(&mut self, name: &str, downstream: Box<dyn Any + Send>) -> Result<()> {
        if name != LATE {
            return Err(Error::internal(format!("a window has no side output {name:?}, only {LATE:?}")));
        }
        self.late.is_read = true;
        self.late.side.bind(downstream)
    }

    fn visit_side_outputs(&mut self, visitor: &mut dyn FnMut(&mut dyn SideLink) -> Result<()>) -> Result<()> {
        visitor(&mut self.late.side)
    }
}

/// What becomes of the records of a window.
#[derive(Clone, Copy)]
enum Phase {
    /// They wait for the watermark.
    Open,
    /// The window has fired for some keys, before a restore; the watermark, which starts again, is behind it.
    PerKey,
    /// The watermark has passed the window: they make it fire again.
    Fired,
    /// They are too late.
    Over,
}

/// How far event time has come, in windows.
struct Progress {
    windows: TumblingWindows,
    watermark: Watermark,
}

impl Progress {
    fn window(&self, time: EventTime) -> Result<Window> {
        if time == EventTime::MIN {
            return Err(Error::user(
                "a record without event time came to an event-time window; mark a field of the record with \
                 `#[record(event_time)]`, or say what it is by `Watermarks::event_time`",
            ));
        }
        Ok(self.windows.window(time))
    }

    fn phase<K: Key, A: Record>(&self, window: Window, tables: &Tables<K, A>) -> Phase {
        if !window.is_over(0, self.watermark) {
            if tables.has_fired() { Phase::PerKey } else { Phase::Open }
        } else if !window.is_over(self.windows.lateness_ms(), self.watermark) {
            Phase::Fired
        } else {
            Phase::Over
        }
    }
}

/// Where late records go.
struct Late<T: Record> {
    side: SideOutput<T>,
    is_read: bool,
    metrics: Arc<OperatorMetrics>,
}

impl<T: Record> Late<T> {
    #[cold]
    fn take(&mut self, record: &T, time: EventTime) {
        if self.is_read {
            self.side.set_time(time);
            self.side.emit(record.duplicate());
        } else {
            self.metrics.records_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn not_open() -> Error {
    Error::internal("an operator is opened before it is used")
}
