//! A source that makes records from numbers: for tests, examples and benchmarks.
//!
//! The numbers `0, 1, 2, …` are dealt out in blocks of one batch: split `i` of `k` owns blocks `i`, `i + k`, `i + 2k`
//! and so on. A reader always takes the block with the smallest number among its splits, so that one reader yields
//! all numbers in order, however many splits there are.

mod block;
mod enumerator;
mod pace;
mod reader;

use std::{marker::PhantomData, sync::Arc};

use flott_core::{
    Record, Result,
    source::{ReaderContext, Source, SourceReader, SplitEnumerator},
};

use self::pace::Pace;
pub(crate) use self::{enumerator::GenerateEnumerator, reader::GenerateReader};

/// Number of splits unless told otherwise: it divides evenly among 1, 2, 3, 4, 6 or 12 readers.
const SPLITS: u32 = 12;

/// Makes the `n`-th record by calling a function with `n`.
///
/// The function must depend on its argument alone: after a restart the same numbers give the same records.
///
/// ```
/// use flott_connectors::generate::GenerateSource;
///
/// let squares = GenerateSource::bounded(1_000, |n| n * n);
/// let endless = GenerateSource::unbounded(|n| format!("line {n}")).rate(10_000.0);
/// ```
pub struct GenerateSource<T, F> {
    make: Arc<F>,
    count: u64,
    splits: u32,
    rate: Option<f64>,
    records: PhantomData<fn() -> T>,
}

impl<T: Record, F: Fn(u64) -> T + Send + Sync + 'static> GenerateSource<T, F> {
    /// The records of `0..count`.
    pub fn bounded(count: u64, make: F) -> Self {
        Self { make: Arc::new(make), count, splits: SPLITS, rate: None, records: PhantomData }
    }

    /// The records of `0..`, for ever.
    pub fn unbounded(make: F) -> Self {
        Self::bounded(u64::MAX, make)
    }

    /// In how many splits the numbers are dealt out: the highest parallelism that is of use. 12 unless told otherwise.
    #[must_use]
    pub fn splits(mut self, splits: u32) -> Self {
        self.splits = splits.max(1);
        self
    }

    /// At most so many records per second, all readers together.
    #[must_use]
    pub fn rate(mut self, records_per_second: f64) -> Self {
        self.rate = (records_per_second > 0.0).then_some(records_per_second);
        self
    }
}

impl<T: Record, F: Fn(u64) -> T + Send + Sync + 'static> Source for GenerateSource<T, F> {
    type Out = T;

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(GenerateEnumerator::new(self.count, self.splits)))
    }

    fn reader(&self, _context: &ReaderContext) -> Result<Box<dyn SourceReader<Out = T>>> {
        let pace = self.rate.map(|rate| Pace::new(rate / f64::from(self.splits)));
        Ok(Box::new(GenerateReader::new(Arc::clone(&self.make), pace)))
    }

    fn description(&self) -> String {
        match self.count {
            u64::MAX => "generated records without end".into(),
            count => format!("{count} generated records"),
        }
    }
}
