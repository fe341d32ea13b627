//! What is made of a window's records.

use std::{marker::PhantomData, ops::AddAssign};

use flott_core::{Key, Record};

use super::Window;

/// Folds the records of a window into an accumulator, one by one as they come, and makes the result when the window
/// fires. Only the accumulator is kept. Every subtask works on its own clone.
///
/// [`Count`], [`Sum`] and [`Fold`] are ready made.
///
/// ```
/// use flott_operators::window::{Aggregate, Window};
///
/// /// The mean of the cents of a card's payments.
/// #[derive(Clone)]
/// struct Mean;
///
/// impl Aggregate<u64, i64> for Mean {
///     type Accumulator = (i64, u32);
///     type Out = (u64, f64);
///
///     fn create(&self) -> (i64, u32) {
///         (0, 0)
///     }
///     fn add(&self, (sum, count): &mut (i64, u32), cents: &i64) {
///         *sum += cents;
///         *count += 1;
///     }
///     fn finish(&self, card: &u64, _window: Window, (sum, count): (i64, u32)) -> (u64, f64) {
///         (*card, sum as f64 / f64::from(count))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not aggregate records of type `{T}` by keys of type `{K}`",
    note = "use `Count`, `Sum::of(|record| …)` or `Fold::new(…)`, or implement `Aggregate<Key, Record>` for a struct"
)]
pub trait Aggregate<K: Key, T: Record>: Clone + Send + 'static {
    /// What is kept per window and key.
    type Accumulator: Record;
    /// Type of the results.
    type Out: Record;

    /// The accumulator of a window that has no record yet.
    fn create(&self) -> Self::Accumulator;

    /// Adds a record.
    fn add(&self, accumulator: &mut Self::Accumulator, record: &T);

    /// Makes the result of a window.
    fn finish(&self, key: &K, window: Window, accumulator: Self::Accumulator) -> Self::Out;
}

/// Counts records: results are `(key, window, count)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count;

impl<K: Key, T: Record> Aggregate<K, T> for Count {
    type Accumulator = u64;
    type Out = (K, Window, u64);

    fn create(&self) -> u64 {
        0
    }
    #[inline]
    fn add(&self, count: &mut u64, _record: &T) {
        *count += 1;
    }
    fn finish(&self, key: &K, window: Window, count: u64) -> Self::Out {
        (key.duplicate(), window, count)
    }
}

/// Adds up a number of each record: results are `(key, window, sum)`.
#[derive(Clone, Copy, Debug)]
pub struct Sum<F> {
    of: F,
}

impl<F> Sum<F> {
    /// Adds up what `of` says of each record.
    ///
    /// ```
    /// # use flott_operators::window::Sum;
    /// let cents = Sum::of(|payment: &(u64, i64)| payment.1);
    /// ```
    pub fn of<T, V>(of: F) -> Self
    where
        F: Fn(&T) -> V,
    {
        Self { of }
    }
}

impl<K: Key, T: Record, V, F> Aggregate<K, T> for Sum<F>
where
    V: Record + Default + AddAssign,
    F: Fn(&T) -> V + Clone + Send + 'static,
{
    type Accumulator = V;
    type Out = (K, Window, V);

    fn create(&self) -> V {
        V::default()
    }
    #[inline]
    fn add(&self, sum: &mut V, record: &T) {
        *sum += (self.of)(record);
    }
    fn finish(&self, key: &K, window: Window, sum: V) -> Self::Out {
        (key.duplicate(), window, sum)
    }
}

/// An aggregate of three closures.
#[derive(Debug)]
pub struct Fold<K, T, A, O, C, D, F> {
    create: C,
    add: D,
    finish: F,
    types: PhantomData<fn(K, T, A) -> O>,
}

impl<K, T, A, O, C: Clone, D: Clone, F: Clone> Clone for Fold<K, T, A, O, C, D, F> {
    fn clone(&self) -> Self {
        let (create, add, finish) = (self.create.clone(), self.add.clone(), self.finish.clone());
        Self { create, add, finish, types: PhantomData }
    }
}

impl<K, T, A, O, C, D, F> Fold<K, T, A, O, C, D, F>
where
    C: Fn() -> A,
    D: Fn(&mut A, &T),
    F: Fn(&K, Window, A) -> O,
{
    /// An aggregate that starts with what `create` makes, adds records by `add`, and makes results by `finish`.
    ///
    /// ```
    /// # use flott_operators::window::{Fold, Window};
    /// let largest = Fold::new(
    ///     || i64::MIN,
    ///     |largest: &mut i64, payment: &(u64, i64)| *largest = payment.1.max(*largest),
    ///     |card: &u64, window: Window, largest| (*card, window.start, largest),
    /// );
    /// ```
    pub fn new(create: C, add: D, finish: F) -> Self {
        Self { create, add, finish, types: PhantomData }
    }
}

impl<K: Key, T: Record, A: Record, O: Record, C, D, F> Aggregate<K, T> for Fold<K, T, A, O, C, D, F>
where
    C: Fn() -> A + Clone + Send + 'static,
    D: Fn(&mut A, &T) + Clone + Send + 'static,
    F: Fn(&K, Window, A) -> O + Clone + Send + 'static,
{
    type Accumulator = A;
    type Out = O;

    fn create(&self) -> A {
        (self.create)()
    }
    #[inline]
    fn add(&self, accumulator: &mut A, record: &T) {
        (self.add)(accumulator, record);
    }
    fn finish(&self, key: &K, window: Window, accumulator: A) -> O {
        (self.finish)(key, window, accumulator)
    }
}
