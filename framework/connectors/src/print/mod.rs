//! A sink that writes records to standard output, a line each.

use std::{
    io::{self, Write},
    sync::Arc,
};

use flott_core::{
    Batch, CheckpointId, Error, ErrorKind, Record, Result,
    sink::{DeliveryGuarantee, Sink, SinkWriter, WriterContext},
    snapshot::WriteList,
};
use serde::Serialize;

use crate::format::{EncodeFormat, Json};

/// How a plan describes a sink that prints.
pub const STANDARD_OUTPUT: &str = "standard output";

/// Prints records, at least once: after a restart those since the last checkpoint come again.
///
/// ```
/// use flott_connectors::print::PrintSink;
///
/// let numbers = PrintSink::<u64>::json();
/// let lines = PrintSink::<String>::with(flott_connectors::format::Utf8);
/// ```
pub struct PrintSink<T> {
    format: Arc<dyn EncodeFormat<T>>,
}

impl<T: Record> PrintSink<T> {
    /// Prints each record as `format` writes it.
    pub fn with(format: impl EncodeFormat<T>) -> Self {
        Self { format: Arc::new(format) }
    }
}

impl<T: Record + Serialize> PrintSink<T> {
    /// Prints each record as JSON.
    #[must_use]
    pub fn json() -> Self {
        Self::with(Json)
    }
}

impl<T: Record> Sink for PrintSink<T> {
    type In = T;

    fn writer(&self, _context: &WriterContext) -> Result<Box<dyn SinkWriter<In = T>>> {
        Ok(Box::new(PrintWriter { format: Arc::clone(&self.format), lines: Vec::new() }))
    }

    fn guarantee(&self) -> DeliveryGuarantee {
        DeliveryGuarantee::AtLeastOnce
    }

    fn description(&self) -> String {
        STANDARD_OUTPUT.into()
    }
}

struct PrintWriter<T> {
    format: Arc<dyn EncodeFormat<T>>,
    lines: Vec<u8>,
}

impl<T: Record> SinkWriter for PrintWriter<T> {
    type In = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<()> {
        self.lines.clear();
        for record in batch.records.drain(..) {
            self.format.encode(&record, &mut self.lines)?;
            self.lines.push(b'\n');
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&self.lines).and_then(|()| stdout.flush());
        written.map_err(|error| {
            let (kind, context) = match error.kind() {
                io::ErrorKind::BrokenPipe => {
                    (ErrorKind::OutputClosed, "the reader of this process's standard output has closed it")
                }
                _ => (ErrorKind::User, "cannot write to standard output"),
            };
            Error::from(error).with_kind(kind).context(context)
        })
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
        let sink = PrintSink::<u64>::json();
        verify_writer(sink.writer(&writer_context()).unwrap(), |batch| vec![batch], pause);
    }
}
