//! A sink that counts records and forgets them: for benchmarks and tests.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flott_core::{
    Batch, CheckpointId, Record, Result,
    sink::{DeliveryGuarantee, Sink, SinkWriter, WriterContext},
    snapshot::WriteList,
};

/// What has arrived at a [`DiscardSink`] in this process, all its writers together.
#[derive(Debug, Default)]
pub struct Discarded {
    records: AtomicU64,
    checksum: AtomicU64,
}

impl Discarded {
    /// Number of records.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Acquire)
    }

    /// Wrapping sum of what the checksum function gave; independent of the order of records.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        self.checksum.load(Ordering::Acquire)
    }
}

/// Counts records and forgets them.
///
/// ```
/// use flott_connectors::discard::DiscardSink;
///
/// let sink = DiscardSink::<u64>::new().checksum(|record| *record);
/// let discarded = sink.discarded();
/// assert_eq!(discarded.records(), 0);
/// ```
pub struct DiscardSink<T, F = fn(&T) -> u64> {
    checksum: Arc<F>,
    discarded: Arc<Discarded>,
    records: PhantomData<fn(T)>,
}

impl<T: Record> DiscardSink<T> {
    /// A sink that only counts.
    #[must_use]
    pub fn new() -> Self {
        Self { checksum: Arc::new(|_| 0), discarded: Arc::default(), records: PhantomData }
    }

    /// Sums up what `checksum` gives for each record.
    pub fn checksum<F: Fn(&T) -> u64 + Send + Sync + 'static>(self, checksum: F) -> DiscardSink<T, F> {
        DiscardSink { checksum: Arc::new(checksum), discarded: self.discarded, records: PhantomData }
    }
}

impl<T: Record> Default for DiscardSink<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, F> DiscardSink<T, F> {
    /// The counters, to be read while the job runs and after it.
    #[must_use]
    pub fn discarded(&self) -> Arc<Discarded> {
        Arc::clone(&self.discarded)
    }
}

impl<T: Record, F: Fn(&T) -> u64 + Send + Sync + 'static> Sink for DiscardSink<T, F> {
    type In = T;

    fn writer(&self, _context: &WriterContext) -> Result<Box<dyn SinkWriter<In = T>>> {
        let (checksum, discarded) = (Arc::clone(&self.checksum), self.discarded());
        Ok(Box::new(DiscardWriter { checksum, discarded, records: PhantomData }))
    }

    fn guarantee(&self) -> DeliveryGuarantee {
        DeliveryGuarantee::None
    }

    fn description(&self) -> String {
        "nowhere".into()
    }
}

struct DiscardWriter<T, F> {
    checksum: Arc<F>,
    discarded: Arc<Discarded>,
    records: PhantomData<fn(T)>,
}

impl<T: Record, F: Fn(&T) -> u64 + Send + Sync> SinkWriter for DiscardWriter<T, F> {
    type In = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<()> {
        let checksum = &*self.checksum;
        let sum = batch.records.iter().fold(0u64, |sum, record| sum.wrapping_add(checksum(record)));
        self.discarded.checksum.fetch_add(sum, Ordering::AcqRel);
        self.discarded.records.fetch_add(batch.len() as u64, Ordering::AcqRel);
        batch.clear();
        Ok(())
    }

    fn precommit(&mut self, _checkpoint: CheckpointId) -> Result<WriteList> {
        Ok(Box::new(|| Ok(Vec::new())))
    }

    fn commit(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flott_core::testkit::{verify_writer, writer_context};
    use xtask::clock::pause;

    use super::*;

    #[test]
    fn it_keeps_the_contract_of_writers() {
        let sink = DiscardSink::<u64>::new().checksum(|record| *record);
        verify_writer(sink.writer(&writer_context()).unwrap(), |batch| vec![batch, 10], pause);
        assert_eq!((sink.discarded().records(), sink.discarded().checksum()), (16, 28 + 80));
    }
}
