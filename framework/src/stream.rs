//! Streams of records, and what can be done with them one record at a time.

use std::{
    panic::Location,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flott_core::{
    Key, Record, Result,
    operator::{Discard, Downstream},
    sink::Sink,
    time::millis,
};
use flott_operators::{
    fused::{
        Filter, FlatMap, FusedOperator, Identity, Inspect, Map, Transform, TryFilter, TryFlatMap, TryMap,
    },
    watermark::Watermarks,
};
use flott_plan::{OperatorRole, WatermarkStrategy};

use crate::{
    declare::{LinkFactory, NodeSpec, Origin, Prototype, SharedDeclaration, SinkFactory},
    keyed::KeyedStream,
};

/// Checks that an operator has a side output of a name and type.
type SideOutputCheck = Arc<dyn Fn(&str, Box<dyn std::any::Any + Send>) -> Result<()>>;

/// A stream of records of type `T`.
///
/// Consecutive closures are fused into one loop at compile time; `C` is their composition, and of no concern to users:
/// a stream fresh from an operator is a `Stream<T>`, and [`Stream::erased`] makes one of any stream.
///
/// Clone a stream to use it more than once.
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct Stream<T: Record, C: Transform<Out = T> = Identity<T>> {
    declaration: SharedDeclaration,
    /// More than one after a union.
    origins: Vec<Origin>,
    transform: C,
    /// What the closures do, for the plan. Empty as long as there is none.
    steps: Vec<&'static str>,
    check_side_output: Option<SideOutputCheck>,
}

// Not derived: the records need not be `Clone`.
impl<T: Record, C: Transform<Out = T>> Clone for Stream<T, C> {
    fn clone(&self) -> Self {
        Self {
            declaration: self.declaration.clone(),
            origins: self.origins.clone(),
            transform: self.transform.clone(),
            steps: self.steps.clone(),
            check_side_output: self.check_side_output.clone(),
        }
    }
}

/// The stream of a source, on which event time is still to be decided.
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct SourceStream<T: Record> {
    stream: Stream<T>,
    watermarks: Arc<Mutex<Watermarks<T>>>,
}

impl<T: Record> std::ops::Deref for SourceStream<T> {
    type Target = Stream<T>;
    fn deref(&self) -> &Stream<T> {
        &self.stream
    }
}

fn whole_millis(duration: Duration) -> u64 {
    millis(duration).unsigned_abs()
}

impl<T: Record> SourceStream<T> {
    /// How event time advances: see [`Watermarks`]. Records take their event time from the closure given there, else
    /// from their field marked `#[record(event_time)]`, else from the source (for Kafka, the record's timestamp).
    ///
    /// Windows and event-time timers need this at every source that feeds them; a job without it is refused.
    pub fn watermarks(self, watermarks: Watermarks<T>) -> Stream<T> {
        let strategy = match watermarks.out_of_orderness() {
            None => WatermarkStrategy::AtEnd,
            Some(out_of_orderness) => WatermarkStrategy::Bounded {
                out_of_orderness_ms: whole_millis(out_of_orderness),
                idleness_ms: watermarks.idle_timeout().map(whole_millis),
            },
        };
        for origin in &self.stream.origins {
            self.stream.declaration.set_watermarks(origin.operator, strategy);
        }
        *self.watermarks.lock().unwrap_or_else(PoisonError::into_inner) = watermarks;
        self.stream
    }
}

impl<T: Record> Stream<T> {
    pub(crate) fn of_source(
        declaration: SharedDeclaration,
        origin: Origin,
        watermarks: Arc<Mutex<Watermarks<T>>>,
    ) -> SourceStream<T> {
        SourceStream { stream: Self::new(declaration, vec![origin]), watermarks }
    }

    pub(crate) fn new(declaration: SharedDeclaration, origins: Vec<Origin>) -> Self {
        Self { declaration, origins, transform: Identity::new(), steps: Vec::new(), check_side_output: None }
    }

    pub(crate) fn with_side_outputs(mut self, check: SideOutputCheck) -> Self {
        self.check_side_output = Some(check);
        self
    }

    /// Another output of the operator that this stream comes from, declared there as a field
    /// `#[side_output] name: SideOutput<S>`.
    #[track_caller]
    pub fn side_output<S: Record>(&self, name: &str) -> Stream<S> {
        let place = Location::caller();
        let origin = &self.origins[0];
        let uid = self.declaration.uid(origin.operator);
        let declared = self.declaration.side_outputs(origin.operator);
        let target: Box<dyn Downstream<S>> = Box::new(Discard);
        let check = self.check_side_output.as_ref();
        let mut side_output = None;
        let is_main_output = self.origins.len() == 1 && origin.side_output.is_none();
        if !is_main_output || !declared.iter().any(|other| other == name) {
            self.declaration.mistake(format!(
                "{place}: operator {uid:?} has no side output {name:?}; it declares {declared:?}. \
                 Call side_output right after the operator, before any closure"
            ));
        } else if check.is_none_or(|check| check(name, Box::new(target)).is_err()) {
            self.declaration.mistake(format!(
                "{place}: side output {name:?} of operator {uid:?} is read as another type"
            ));
        } else {
            side_output = Some(name.to_string());
        }
        Stream::new(self.declaration.clone(), vec![Origin { operator: origin.operator, side_output }])
    }

    /// Sets the parallelism of the operator that this stream comes from, where it should differ from the job's.
    pub fn parallelism(self, parallelism: u32) -> Self {
        for origin in &self.origins {
            self.declaration.set_parallelism(origin.operator, parallelism);
        }
        self
    }
}

impl<T: Record, C: Transform<Out = T>> Stream<T, C> {
    fn then<O: Record, D: Transform<Out = O>>(
        mut self,
        step: &'static str,
        transform: impl FnOnce(C) -> D,
    ) -> Stream<O, D> {
        self.steps.push(step);
        Stream {
            declaration: self.declaration,
            origins: self.origins,
            transform: transform(self.transform),
            steps: self.steps,
            check_side_output: None,
        }
    }

    /// Makes one record of each.
    pub fn map<O: Record, F>(self, function: F) -> Stream<O, Map<C, F>>
    where
        F: FnMut(T) -> O + Clone + Send + 'static,
    {
        self.then("map", |transform| transform.map(function))
    }

    /// Makes one record of each, or fails.
    pub fn try_map<O: Record, F>(self, function: F) -> Stream<O, TryMap<C, F>>
    where
        F: FnMut(T) -> Result<O> + Clone + Send + 'static,
    {
        self.then("map", |transform| transform.try_map(function))
    }

    /// Keeps the records for which the closure says so.
    pub fn filter<F>(self, function: F) -> Stream<T, Filter<C, F>>
    where
        F: FnMut(&T) -> bool + Clone + Send + 'static,
    {
        self.then("filter", |transform| transform.filter(function))
    }

    /// Keeps the records for which the closure says so, or fails.
    pub fn try_filter<F>(self, function: F) -> Stream<T, TryFilter<C, F>>
    where
        F: FnMut(&T) -> Result<bool> + Clone + Send + 'static,
    {
        self.then("filter", |transform| transform.try_filter(function))
    }

    /// Makes any number of records of each, all with its event time.
    pub fn flat_map<I, F>(self, function: F) -> Stream<I::Item, FlatMap<C, F>>
    where
        I: IntoIterator<Item: Record> + 'static,
        F: FnMut(T) -> I + Clone + Send + 'static,
    {
        self.then("flat-map", |transform| transform.flat_map(function))
    }

    /// Makes any number of records of each, or fails.
    pub fn try_flat_map<I, F>(self, function: F) -> Stream<I::Item, TryFlatMap<C, F>>
    where
        I: IntoIterator<Item: Record> + 'static,
        F: FnMut(T) -> Result<I> + Clone + Send + 'static,
    {
        self.then("flat-map", |transform| transform.try_flat_map(function))
    }

    /// Looks at each record.
    pub fn inspect<F>(self, function: F) -> Stream<T, Inspect<C, F>>
    where
        F: FnMut(&T) + Clone + Send + 'static,
    {
        self.then("inspect", |transform| transform.inspect(function))
    }

    /// The same stream under a type that does not name its closures.
    #[track_caller]
    pub fn erased(self) -> Stream<T> {
        if self.steps.is_empty() {
            let check_side_output = self.check_side_output;
            return Stream { check_side_output, ..Stream::new(self.declaration, self.origins) };
        }
        let uid = self.declaration.derived_uid(&self.origins[0], &self.steps);
        let spec = NodeSpec::new(&uid, OperatorRole::Transform, self.steps.join(" → "));
        let prototype = Prototype::new(self.transform);
        let factory = LinkFactory::new(move || FusedOperator::new(prototype.instance()));
        let operator = self.declaration.add_operator(spec, Arc::new(factory));
        for origin in &self.origins {
            self.declaration.add_forward_edge::<C::In>(origin, operator);
        }
        Stream::new(self.declaration, vec![Origin { operator, side_output: None }])
    }

    /// The records of both streams, in no particular order between them.
    #[track_caller]
    pub fn union(self, other: impl IntoStream<T>) -> Stream<T> {
        let (mut this, other) = (self.erased(), other.into_stream());
        this.origins.extend(other.origins);
        this.check_side_output = None;
        this
    }

    /// Distributes the records evenly over the subtasks that come next.
    #[track_caller]
    pub fn rebalance(self) -> Stream<T> {
        let stream = self.erased();
        let uid = stream.declaration.derived_uid(&stream.origins[0], &["rebalance"]);
        let spec = NodeSpec::new(&uid, OperatorRole::Transform, "rebalance".into());
        let factory = LinkFactory::new(|| FusedOperator::new(Identity::<T>::new()));
        let operator = stream.declaration.add_operator(spec, Arc::new(factory));
        for origin in &stream.origins {
            stream.declaration.add_rebalance_edge::<T>(origin, operator);
        }
        Stream::new(stream.declaration, vec![Origin { operator, side_output: None }])
    }

    /// Groups the records by a key: what comes next has state per key, and all records of a key go to one subtask, in
    /// order.
    #[track_caller]
    pub fn key_by<K: Key, S>(self, key: S) -> KeyedStream<T, K, S>
    where
        S: Fn(&T) -> K + Clone + Send + 'static,
    {
        let stream = self.erased();
        KeyedStream::new(stream.declaration, stream.origins, key)
    }

    /// Ends the stream in a sink, under a stable name.
    #[track_caller]
    pub fn sink<S: Sink<In = T>>(self, uid: &str, sink: S) {
        let stream = self.erased();
        let spec = NodeSpec::sink(uid, sink.guarantee(), sink.description());
        let operator = stream.declaration.add_operator(spec, Arc::new(SinkFactory(sink)));
        for origin in &stream.origins {
            stream.declaration.add_forward_edge::<T>(origin, operator);
        }
    }
}

/// What is a stream of records of type `T`: a [`Stream`], whatever its closures are, or that of a source. Not `Into`, which
/// cannot be implemented for a stream with closures beside one without.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stream of `{T}`",
    note = "streams that are united have records of one type; `map` one to the type of the other"
)]
pub trait IntoStream<T: Record> {
    /// The stream under a type that does not name its closures.
    fn into_stream(self) -> Stream<T>;
}

impl<T: Record, C: Transform<Out = T>> IntoStream<T> for Stream<T, C> {
    #[track_caller]
    fn into_stream(self) -> Stream<T> {
        self.erased()
    }
}

impl<T: Record> IntoStream<T> for SourceStream<T> {
    fn into_stream(self) -> Stream<T> {
        self.stream
    }
}

/// The same methods on the stream of a source, which thereby has no watermarks.
macro_rules! without_watermarks {
    ($($(#[$doc:meta])* $name:ident<$($param:ident),*>($($arg:ident: $type:ty),*) -> $out:ty where {$($bounds:tt)*})*) => {
        impl<T: Record> SourceStream<T> {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name<$($param),*>(self, $($arg: $type),*) -> $out where $($bounds)* {
                    self.stream.$name($($arg),*)
                }
            )*
        }
    };
}

without_watermarks! {
    /// See [`Stream::map`].
    map<O, F>(function: F) -> Stream<O, Map<Identity<T>, F>>
        where { O: Record, F: FnMut(T) -> O + Clone + Send + 'static }
    /// See [`Stream::try_map`].
    try_map<O, F>(function: F) -> Stream<O, TryMap<Identity<T>, F>>
        where { O: Record, F: FnMut(T) -> Result<O> + Clone + Send + 'static }
    /// See [`Stream::filter`].
    filter<F>(function: F) -> Stream<T, Filter<Identity<T>, F>>
        where { F: FnMut(&T) -> bool + Clone + Send + 'static }
    /// See [`Stream::try_filter`].
    try_filter<F>(function: F) -> Stream<T, TryFilter<Identity<T>, F>>
        where { F: FnMut(&T) -> Result<bool> + Clone + Send + 'static }
    /// See [`Stream::flat_map`].
    flat_map<I, F>(function: F) -> Stream<I::Item, FlatMap<Identity<T>, F>>
        where { I: IntoIterator<Item: Record> + 'static, F: FnMut(T) -> I + Clone + Send + 'static }
    /// See [`Stream::try_flat_map`].
    try_flat_map<I, F>(function: F) -> Stream<I::Item, TryFlatMap<Identity<T>, F>>
        where { I: IntoIterator<Item: Record> + 'static, F: FnMut(T) -> Result<I> + Clone + Send + 'static }
    /// See [`Stream::inspect`].
    inspect<F>(function: F) -> Stream<T, Inspect<Identity<T>, F>>
        where { F: FnMut(&T) + Clone + Send + 'static }
    /// See [`Stream::union`].
    union<S>(other: S) -> Stream<T>
        where { S: IntoStream<T> }
    /// See [`Stream::key_by`].
    key_by<K, S>(key: S) -> KeyedStream<T, K, S>
        where { K: Key, S: Fn(&T) -> K + Clone + Send + 'static }
    /// See [`Stream::sink`].
    sink<S>(uid: &str, sink: S) -> ()
        where { S: Sink<In = T> }
    /// See [`Stream::erased`].
    erased<>() -> Stream<T> where {}
    /// See [`Stream::rebalance`].
    rebalance<>() -> Stream<T> where {}
    /// Sets the parallelism of the source, where it should differ from the job's.
    parallelism<>(parallelism: u32) -> Stream<T> where {}
}
