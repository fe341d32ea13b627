//! What a chain of closures is, and where it starts.

use std::marker::PhantomData;

use flott_core::{EventTime, Record, Result};

use super::{Filter, FlatMap, Inspect, Map, TryFilter, TryFlatMap, TryMap};

/// How many records a transform makes of one, where it does not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Always one: it cannot fail.
    One,
    /// One or none.
    AtMostOne,
    /// Any number.
    Many,
}

impl Shape {
    /// The shape of two transforms, one after the other.
    #[must_use]
    pub const fn then(self, next: Self) -> Self {
        if self as u8 > next as u8 { self } else { next }
    }
}

/// A chain of stateless closures. Every subtask works on its own clone.
///
/// ```
/// use flott_operators::fused::{Identity, Transform};
///
/// let mut even_squares = Identity::<u64>::new().map(|n| n * n).filter(|n| n % 2 == 0);
/// let mut seen = Vec::new();
/// for n in 1..=4 {
///     let time = flott_core::EventTime::MIN;
///     even_squares.apply(n, time, &mut |square, _time| Ok(seen.push(square)))?;
/// }
/// assert_eq!(seen, [4, 16]);
/// # Ok::<(), flott_core::Error>(())
/// ```
pub trait Transform: Clone + Send + 'static {
    /// Type of its input records.
    type In: Record;
    /// Type of its output records.
    type Out: Record;

    /// How many records it makes of one. A promise: the loop over a batch is chosen by it.
    const SHAPE: Shape;

    /// Transforms one record and gives the results to `sink`. Where [`Self::SHAPE`] is not [`Shape::Many`], a result has
    /// the event time of its record, whatever `sink` is told.
    ///
    /// # Errors
    /// When a closure or the sink fails.
    fn apply(
        &mut self,
        record: Self::In,
        time: EventTime,
        sink: &mut impl FnMut(Self::Out, EventTime) -> Result<()>,
    ) -> Result<()>;

    /// Then makes one record of each.
    fn map<O: Record, F>(self, function: F) -> Map<Self, F>
    where
        F: FnMut(Self::Out) -> O + Clone + Send + 'static,
    {
        Map { before: self, function }
    }

    /// Then makes one record of each, or fails.
    fn try_map<O: Record, F>(self, function: F) -> TryMap<Self, F>
    where
        F: FnMut(Self::Out) -> Result<O> + Clone + Send + 'static,
    {
        TryMap { before: self, function }
    }

    /// Then keeps some.
    fn filter<F>(self, function: F) -> Filter<Self, F>
    where
        F: FnMut(&Self::Out) -> bool + Clone + Send + 'static,
    {
        Filter { before: self, function }
    }

    /// Then keeps some, or fails.
    fn try_filter<F>(self, function: F) -> TryFilter<Self, F>
    where
        F: FnMut(&Self::Out) -> Result<bool> + Clone + Send + 'static,
    {
        TryFilter { before: self, function }
    }

    /// Then makes any number of records of each, with its event time.
    fn flat_map<I, F>(self, function: F) -> FlatMap<Self, F>
    where
        I: IntoIterator<Item: Record>,
        F: FnMut(Self::Out) -> I + Clone + Send + 'static,
    {
        FlatMap { before: self, function }
    }

    /// Then makes any number of records of each, or fails.
    fn try_flat_map<I, F>(self, function: F) -> TryFlatMap<Self, F>
    where
        I: IntoIterator<Item: Record>,
        F: FnMut(Self::Out) -> Result<I> + Clone + Send + 'static,
    {
        TryFlatMap { before: self, function }
    }

    /// Then looks at each.
    fn inspect<F>(self, function: F) -> Inspect<Self, F>
    where
        F: FnMut(&Self::Out) + Clone + Send + 'static,
    {
        Inspect { before: self, function }
    }
}

/// Where a chain starts: passes records on as they are.
#[derive(Debug)]
pub struct Identity<T>(PhantomData<fn(T) -> T>);

impl<T> Identity<T> {
    /// The start of a chain.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Identity<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Identity<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T: Record> Transform for Identity<T> {
    type In = T;
    type Out = T;
    const SHAPE: Shape = Shape::One;

    #[inline(always)]
    fn apply(
        &mut self,
        record: T,
        time: EventTime,
        sink: &mut impl FnMut(T, EventTime) -> Result<()>,
    ) -> Result<()> {
        sink(record, time)
    }
}
