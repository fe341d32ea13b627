//! A source over records that are in memory: for tests and examples.

use std::sync::Arc;

use flott_core::{
    Record, Result,
    source::{ReaderContext, Source, SourceReader, SplitEnumerator},
};

use crate::generate::{GenerateEnumerator, GenerateReader};

/// More readers than this have nothing to read.
const SPLITS_MAX: u32 = 64;

/// Yields the records of a list, once, in order at parallelism 1. They are dealt out to readers 1,024 at a time.
///
/// ```
/// use flott_connectors::collection::CollectionSource;
///
/// let words = CollectionSource::new(["brisk", "nimble"].map(String::from));
/// ```
pub struct CollectionSource<T> {
    records: Arc<[T]>,
}

impl<T: Record> CollectionSource<T> {
    /// A source of these records.
    pub fn new(records: impl IntoIterator<Item = T>) -> Self {
        Self { records: records.into_iter().collect() }
    }
}

impl<T: Record> Source for CollectionSource<T> {
    type Out = T;

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(GenerateEnumerator::new(self.records.len() as u64, SPLITS_MAX)))
    }

    fn reader(&self, _context: &ReaderContext) -> Result<Box<dyn SourceReader<Out = T>>> {
        let records = Arc::clone(&self.records);
        #[expect(clippy::cast_possible_truncation, reason = "numbers are below the length of the list")]
        let make = move |number: u64| records[number as usize].duplicate();
        Ok(Box::new(GenerateReader::unpaced(Arc::new(make))))
    }

    fn description(&self) -> String {
        format!("a list of {} records", self.records.len())
    }
}
