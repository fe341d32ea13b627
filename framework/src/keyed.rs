//! Keyed streams: operators with state per key.

use std::{marker::PhantomData, sync::Arc};

use flott_core::{Key, OperatorId, Record, operator::Operator, random};
use flott_operators::{
    function::{ProcessFunction, TimerKind},
    keyed::KeyedProcess,
    reduce::KeyedReduce,
};
use flott_plan::Partitioning;
use flott_runtime::{exchange::Edge, output::HashPartitioner};
use flott_state::heap::HeapBackend;

use crate::{
    declare::{LinkFactory, NodeSpec, Origin, Prototype, SharedDeclaration},
    stream::Stream,
    windowed::WindowedStream,
};

/// A stream whose records are grouped by a key of type `K`.
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct KeyedStream<T: Record, K: Key, S> {
    declaration: SharedDeclaration,
    origins: Vec<Origin>,
    key: S,
    marker: PhantomData<fn(&T) -> K>,
}

// Not derived: records and keys need not be `Clone`.
impl<T: Record, K: Key, S: Clone> Clone for KeyedStream<T, K, S> {
    fn clone(&self) -> Self {
        Self {
            declaration: self.declaration.clone(),
            origins: self.origins.clone(),
            key: self.key.clone(),
            marker: PhantomData,
        }
    }
}

impl<T: Record, K: Key, S: Fn(&T) -> K + Clone + Send + 'static> KeyedStream<T, K, S> {
    pub(crate) fn new(declaration: SharedDeclaration, origins: Vec<Origin>, key: S) -> Self {
        Self { declaration, origins, key, marker: PhantomData }
    }

    /// Adds an operator and the hash edges to it.
    pub(crate) fn add<O: Operator + 'static>(
        &self,
        spec: NodeSpec,
        make: impl Fn(S) -> O + Send + Sync + 'static,
    ) -> OperatorId {
        let key = Prototype::new(self.key.clone());
        let factory = LinkFactory::new(move || make(key.instance()));
        let operator = self.declaration.add_operator(spec, Arc::new(factory));
        self.declaration.check_schema(operator, "the key", &K::schema());
        let max_parallelism = self.declaration.max_parallelism();
        for origin in &self.origins {
            let key = Prototype::new(self.key.clone());
            let edge = Edge::<T>::new(move |_, channels| {
                Box::new(HashPartitioner::new(key.instance(), max_parallelism, channels))
            });
            let schema = T::schema();
            self.declaration.add_edge(origin, operator, Partitioning::Hash, schema, Arc::new(edge));
        }
        operator
    }

    pub(crate) fn stream_of<O: Record>(&self, operator: OperatorId) -> Stream<O> {
        Stream::new(self.declaration.clone(), vec![Origin { operator, side_output: None }])
    }

    /// Runs a user-written operator (`#[derive(Operator)]`, `#[operator]`), under a stable name.
    #[track_caller]
    pub fn process<F>(self, uid: &str, function: F) -> Stream<F::Out>
    where
        F: ProcessFunction<K, In = T> + Clone,
    {
        let name = std::any::type_name::<F>().rsplit("::").next().unwrap_or_default();
        let (prototype, probe) = (Prototype::new(function.clone()), function);
        let mut spec = NodeSpec::transform(uid, name);
        spec.states = F::declarations::<K>();
        spec.side_outputs = F::side_outputs().iter().map(ToString::to_string).collect();
        spec.needs_event_time = F::timers().contains(&TimerKind::EventTime);
        let operator =
            self.add(spec, move |key| KeyedProcess::new(prototype.instance(), key, heap_backend()));
        let check = move |name: &str, target| probe.clone().bind_side_output(name, target);
        self.stream_of(operator).with_side_outputs(Arc::new(check))
    }

    /// Merges the records of each key into one, in order, and emits the merged record each time: `reduce` changes its
    /// first argument, which starts as the key's first record.
    ///
    /// ```
    /// # use flott::prelude::*;
    /// # let mut job = Job::new();
    /// job.source("payments", CollectionSource::new(vec![(42u64, 5i64), (42, 7)]))
    ///     .key_by(|(card, _)| *card)
    ///     .reduce("sum", |sum, (_, cents)| sum.1 += cents)
    ///     .sink("out", PrintSink::json());
    /// # flott::plumbing::finish(job).map(|_| ()).unwrap();
    /// ```
    #[track_caller]
    pub fn reduce<F>(self, uid: &str, reduce: F) -> Stream<T>
    where
        F: FnMut(&mut T, T) + Clone + Send + 'static,
    {
        let reduce = Prototype::new(reduce);
        let mut spec = NodeSpec::transform(uid, "reduce");
        spec.states = KeyedReduce::<K, T, F, S, HeapBackend>::declarations();
        let operator = self.add(spec, move |key| {
            KeyedReduce::<K, T, F, S, HeapBackend>::new(reduce.instance(), key, heap_backend())
        });
        self.stream_of(operator)
    }

    /// Groups the records of each key by windows of event time.
    pub fn window(self, window: flott_operators::window::TumblingWindows) -> WindowedStream<T, K, S> {
        WindowedStream::new(self, window)
    }
}

/// The backend of the keyed state of one operator instance.
pub(crate) fn heap_backend() -> HeapBackend {
    HeapBackend::new(random::hash_seed())
}
