//! A source and a sink that know when work begins and ends.

use std::{marker::PhantomData, sync::Arc};

use flott::{
    Batch, CheckpointId, Record, Result,
    operator::StepTime,
    sink::{DeliveryGuarantee, Sink, SinkWriter, WriterContext},
    snapshot::WriteList,
    source::{ReaderContext, Source, SourceOutput, SourceReader, SourceStatus, Split, SplitEnumerator},
};

use crate::measure;

/// Another source; work begins when its first reader is made.
pub(super) struct TimedSource<S>(S);

impl<S: Source> TimedSource<S> {
    pub(super) fn new(source: S) -> Self {
        Self(source)
    }
}

impl<S: Source> Source for TimedSource<S> {
    type Out = S::Out;

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        self.0.enumerator()
    }

    fn reader(&self, context: &ReaderContext) -> Result<Box<dyn SourceReader<Out = S::Out>>> {
        measure::started();
        Ok(Box::new(TimedReader { reader: self.0.reader(context)?, is_first: true }))
    }

    fn description(&self) -> String {
        self.0.description()
    }
}

/// Another reader; notes when it has read for the first time.
struct TimedReader<T> {
    reader: Box<dyn SourceReader<Out = T>>,
    is_first: bool,
}

impl<T: Record> SourceReader for TimedReader<T> {
    type Out = T;

    fn add_splits(&mut self, splits: Vec<Split>) -> Result<()> {
        self.reader.add_splits(splits)
    }

    fn no_more_splits(&mut self) {
        self.reader.no_more_splits();
    }

    fn poll(&mut self, time: StepTime, out: &mut dyn SourceOutput<T>) -> Result<SourceStatus> {
        let status = self.reader.poll(time, out)?;
        if self.is_first && status == SourceStatus::More {
            self.is_first = false;
            measure::first_record();
        }
        Ok(status)
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<Vec<Split>> {
        self.reader.snapshot(checkpoint)
    }

    fn on_checkpoint_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.reader.on_checkpoint_complete(checkpoint)
    }
}

/// Counts records and adds up their checksums.
pub(super) struct TimedSink<T, F> {
    checksum: Arc<F>,
    records: PhantomData<fn(T)>,
}

impl<T: Record, F: Fn(&T) -> u64 + Send + Sync + 'static> TimedSink<T, F> {
    pub(super) fn new(checksum: F) -> Self {
        Self { checksum: Arc::new(checksum), records: PhantomData }
    }
}

impl<T: Record, F: Fn(&T) -> u64 + Send + Sync + 'static> Sink for TimedSink<T, F> {
    type In = T;

    fn writer(&self, _context: &WriterContext) -> Result<Box<dyn SinkWriter<In = T>>> {
        let checksum = Arc::clone(&self.checksum);
        Ok(Box::new(TimedWriter { checksum, written: 0, sum: 0, records: PhantomData }))
    }

    fn guarantee(&self) -> DeliveryGuarantee {
        DeliveryGuarantee::None
    }

    fn description(&self) -> String {
        "nowhere, counted".into()
    }
}

/// Looks at the clock when it is advanced, once per millisecond: a batch is made in less than that.
struct TimedWriter<T, F> {
    checksum: Arc<F>,
    written: u64,
    sum: u64,
    records: PhantomData<fn(T)>,
}

impl<T: Record, F: Fn(&T) -> u64 + Send + Sync> SinkWriter for TimedWriter<T, F> {
    type In = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<()> {
        let checksum = &*self.checksum;
        self.sum = batch.records.iter().fold(self.sum, |sum, record| sum.wrapping_add(checksum(record)));
        self.written += batch.len() as u64;
        batch.clear();
        Ok(())
    }

    fn precommit(&mut self, _checkpoint: CheckpointId) -> Result<WriteList> {
        self.report();
        Ok(Box::new(|| Ok(Vec::new())))
    }

    fn commit(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }

    fn advance(&mut self, _time: StepTime) -> Result<()> {
        self.report();
        Ok(())
    }
}

impl<T, F> TimedWriter<T, F> {
    fn report(&mut self) {
        if self.written > 0 {
            measure::done(std::mem::take(&mut self.written), std::mem::take(&mut self.sum));
        }
    }
}
