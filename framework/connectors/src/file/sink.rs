use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flott_core::{
    ErrorKind, Record, Result, ResultExt,
    sink::{DeliveryGuarantee, Settler, Sink, SinkWriter, WriterContext},
};
use serde::Serialize;

use super::{settler::FileSettler, writer::FileWriter};
use crate::format::{EncodeFormat, Json};

/// Writes records as lines to files in `{directory}/{sink uid}`, exactly once.
///
/// ```
/// use flott_connectors::file::FileSink;
///
/// let totals = FileSink::<(u64, i64)>::json_lines("/var/lib/totals");
/// ```
pub struct FileSink<T> {
    directory: PathBuf,
    format: Arc<dyn EncodeFormat<T>>,
}

impl<T: Record> FileSink<T> {
    /// One line per record, as `format` writes it. It must not write line breaks.
    pub fn lines(directory: impl Into<PathBuf>, format: impl EncodeFormat<T>) -> Self {
        Self { directory: directory.into(), format: Arc::new(format) }
    }
}

impl<T: Record + Serialize> FileSink<T> {
    /// One line of JSON per record.
    pub fn json_lines(directory: impl Into<PathBuf>) -> Self {
        Self::lines(directory, Json)
    }
}

impl<T: Record> Sink for FileSink<T> {
    type In = T;

    fn writer(&self, context: &WriterContext) -> Result<Box<dyn SinkWriter<In = T>>> {
        let directory = self.directory.join(context.uid.as_str());
        Ok(Box::new(FileWriter::new(directory, Arc::clone(&self.format), context)?))
    }

    fn settler(&self) -> Result<Option<Box<dyn Settler>>> {
        Ok(Some(Box::new(FileSettler::new(self.directory.clone()))))
    }

    fn guarantee(&self) -> DeliveryGuarantee {
        DeliveryGuarantee::ExactlyOnce
    }

    fn description(&self) -> String {
        format!("files in {}", self.directory.display())
    }

    fn check(&self, _checkpoint_interval_ms: u64) -> Result<()> {
        // Sinks are checked beside each other, in several processes perhaps: each has a file of its own.
        let tried = fs::create_dir_all(&self.directory).and_then(|()| probe(&self.directory));
        tried.or_error(
            ErrorKind::Settings,
            format!(
                "cannot write to {}; make it a directory that this user may write",
                self.directory.display()
            ),
        )
    }
}

/// Makes a file and removes it.
fn probe(directory: &Path) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (process, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = directory.join(format!(".probe-{process}-{number}"));
    fs::write(&path, b"x").and_then(|()| fs::remove_file(&path))
}
