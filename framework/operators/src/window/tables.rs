//! The accumulators of windows: of those that are open and of those that have fired.

use std::ops::Range;

use flott_core::{
    Key, Record, Result,
    snapshot::OperatorSnapshot,
    state::{StateBackend, StateBinder, StateDeclaration, WindowTable},
};

use super::{Aggregate, TumblingWindows, Window};
use crate::keyed::BatchKeys;

const OPEN: &str = "windows";
const FIRED: &str = "fired windows";

/// Windows are known by their start alone, so those of another size or offset must not take this state for theirs.
fn name(what: &str, windows: &TumblingWindows) -> String {
    format!("{what} of {} ms + {} ms", windows.size_ms(), windows.offset_ms())
}

pub(super) struct Tables<K, A> {
    /// Windows that have not fired.
    pub(super) open: Box<dyn WindowTable<K, A>>,
    /// Windows that have fired and are kept for records that come late; only where lateness is allowed.
    pub(super) fired: Option<Box<dyn WindowTable<K, A>>>,
}

impl<K: Key, A: Record> Tables<K, A> {
    pub(super) fn declarations(windows: &TumblingWindows) -> Vec<StateDeclaration> {
        [OPEN, FIRED].map(|what| StateDeclaration::window::<K, A>(&name(what, windows))).into()
    }

    pub(super) fn bind<B: StateBackend>(
        windows: &TumblingWindows,
        binder: &mut StateBinder<'_, B>,
    ) -> Result<Self> {
        // Also what was kept when lateness was still allowed: it goes when the watermark comes.
        let is_kept = windows.lateness_ms() > 0 || binder.restored.keyed.contains_key(&name(FIRED, windows));
        let mut table = |what| {
            let declaration = StateDeclaration::window::<K, A>(&name(what, windows));
            binder.backend.windows::<K, A>(&declaration, binder.keys, binder.restored)
        };
        let open = table(OPEN)?;
        let fired = if is_kept { Some(table(FIRED)?) } else { None };
        Ok(Self { open, fired })
    }

    fn each(&mut self, mut action: impl FnMut(&mut dyn WindowTable<K, A>)) {
        action(&mut *self.open);
        if let Some(fired) = &mut self.fired {
            action(&mut **fired);
        }
    }

    pub(super) fn begin_batch(&mut self, keys: &BatchKeys<K>) {
        self.each(|table| table.begin_batch(keys.share()));
    }

    pub(super) fn end_batch(&mut self) {
        self.each(|table| table.end_batch());
    }

    pub(super) fn snapshot(&mut self) -> OperatorSnapshot {
        let mut states = Vec::new();
        self.each(|table| states.push(table.snapshot()));
        OperatorSnapshot::new(states)
    }

    /// Whether there are windows that have fired.
    pub(super) fn has_fired(&self) -> bool {
        self.fired.as_ref().is_some_and(|fired| fired.first_window().is_some())
    }

    /// Keeps what has fired, for records that come late.
    pub(super) fn keep_fired(&mut self, window: Window, mut entries: Vec<(K, A)>) {
        let Some(fired) = &mut self.fired else { return };
        let mut keys = BatchKeys::default();
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(flott_core::BATCH_RECORDS_MAX));
            let (part, accumulators): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
            keys.fill(part.into_iter());
            fired.begin_batch(keys.share());
            for (at, accumulator) in accumulators.into_iter().enumerate() {
                fired.set(window.start, at, accumulator);
            }
            fired.end_batch();
            entries = rest;
        }
    }
}

/// Adds the records at these positions to the accumulators of their keys.
#[inline]
pub(super) fn add<K: Key, T: Record, A: Aggregate<K, T>>(
    table: &mut dyn WindowTable<K, A::Accumulator>,
    aggregate: &A,
    window: Window,
    range: Range<usize>,
    records: &[T],
) {
    table.update(window.start, range, &mut |at, accumulator| {
        if let Some(accumulator) = accumulator {
            aggregate.add(accumulator, &records[at]);
            return None;
        }
        let mut accumulator = aggregate.create();
        aggregate.add(&mut accumulator, &records[at]);
        Some(accumulator)
    });
}
