//! Windowed streams.

use flott_core::{Key, Record};
use flott_operators::window::{Aggregate, Count, LATE, TumblingWindows, WindowOperator};
use flott_state::heap::HeapBackend;

use std::sync::Arc;

use flott_core::operator::SideOutput;

use crate::{
    declare::{NodeSpec, Prototype},
    keyed::{KeyedStream, heap_backend},
    stream::Stream,
};

/// A keyed stream whose records are grouped by windows of event time.
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct WindowedStream<T: Record, K: Key, S> {
    stream: KeyedStream<T, K, S>,
    windows: TumblingWindows,
}

impl<T: Record, K: Key, S: Fn(&T) -> K + Clone + Send + 'static> WindowedStream<T, K, S> {
    pub(crate) fn new(stream: KeyedStream<T, K, S>, windows: TumblingWindows) -> Self {
        Self { stream, windows }
    }

    /// Aggregates the records of each window and key as they come, and emits a result when the watermark passes the
    /// window's end. Records that come later than that are counted and dropped, unless the side output `late` is read:
    /// `stream.side_output::<T>("late")`.
    #[track_caller]
    pub fn aggregate<A: Aggregate<K, T>>(self, uid: &str, aggregate: A) -> Stream<A::Out> {
        let windows = self.windows;
        let mut spec = NodeSpec::transform(uid, &windows.to_string());
        spec.states = WindowOperator::<K, T, A, S, HeapBackend>::declarations(&windows);
        spec.side_outputs = vec![LATE.into()];
        spec.needs_event_time = true;
        let prototype = Prototype::new(aggregate);
        let operator = self.stream.add(spec, move |key| {
            WindowOperator::<K, T, A, S, HeapBackend>::new(windows, prototype.instance(), key, heap_backend())
        });
        let check = |_name: &str, target| SideOutput::<T>::default().bind(target);
        self.stream.stream_of(operator).with_side_outputs(Arc::new(check))
    }

    /// Counts the records of each window and key.
    #[track_caller]
    pub fn count(self, uid: &str) -> Stream<<Count as Aggregate<K, T>>::Out>
    where
        Count: Aggregate<K, T>,
    {
        self.aggregate(uid, Count)
    }
}
