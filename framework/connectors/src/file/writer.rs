use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use flott_core::{
    Batch, CheckpointId, ErrorKind, Generation, Record, Result, ResultExt, SubtaskIndex,
    sink::{SinkWriter, WriterContext},
    snapshot::WriteList,
};

use super::committable::{PendingFile, sync_directory};
use crate::format::EncodeFormat;

/// Bytes that are gathered before they are written to the file.
const BUFFER_BYTES: usize = 256 * 1024;

pub(super) struct FileWriter<T> {
    directory: PathBuf,
    format: Arc<dyn EncodeFormat<T>>,
    generation: Generation,
    subtask: SubtaskIndex,
    sequence: u64,
    buffer: Vec<u8>,
    open: Option<OpenFile>,
    pending: Vec<Pending>,
}

/// The file that takes the records since the last barrier.
struct OpenFile {
    file: File,
    name: String,
    length: u64,
    records: u64,
}

/// A file that must be listed: until its final name is known to be on disk.
struct Pending {
    file: PendingFile,
    is_renamed: bool,
    is_rename_durable: Arc<AtomicBool>,
}

impl<T: Record> FileWriter<T> {
    pub(super) fn new(
        directory: PathBuf,
        format: Arc<dyn EncodeFormat<T>>,
        context: &WriterContext,
    ) -> Result<Self> {
        fs::create_dir_all(&directory).or_error(ErrorKind::Settings, directory.display())?;
        Ok(Self {
            directory,
            format,
            generation: context.generation,
            subtask: context.subtask,
            sequence: 0,
            buffer: Vec::new(),
            open: None,
            pending: Vec::new(),
        })
    }

    fn open(&mut self) -> Result<&mut OpenFile> {
        if self.open.is_none() {
            let name = PendingFile::pending_name(self.generation, self.subtask, self.sequence);
            self.sequence += 1;
            let path = self.directory.join(&name);
            let file = File::create(&path).or_error(ErrorKind::Transient, path.display())?;
            self.open = Some(OpenFile { file, name, length: 0, records: 0 });
        }
        Ok(self.open.as_mut().expect("was opened above"))
    }

    fn flush(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            let buffer = std::mem::take(&mut self.buffer);
            let open = self.open()?;
            open.file.write_all(&buffer).or_error(ErrorKind::Transient, &open.name)?;
            open.length += buffer.len() as u64;
            self.buffer = buffer;
            self.buffer.clear();
        }
        Ok(())
    }
}

impl<T: Record> SinkWriter for FileWriter<T> {
    type In = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<()> {
        let records = batch.len() as u64;
        if records == 0 {
            return Ok(());
        }
        self.open()?.records += records;
        for record in batch.records.drain(..) {
            self.format.encode(&record, &mut self.buffer)?;
            self.buffer.push(b'\n');
        }
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn precommit(&mut self, checkpoint: CheckpointId) -> Result<WriteList> {
        self.flush()?;
        self.pending.retain(|pending| !pending.is_rename_durable.load(Ordering::Acquire));
        let renamed = self.pending.iter().filter(|pending| pending.is_renamed);
        let renamed: Vec<_> = renamed.map(|pending| Arc::clone(&pending.is_rename_durable)).collect();
        let file = self.open.take().map(|open| {
            let file = PendingFile {
                pending: open.name,
                part: PendingFile::part_name(checkpoint, self.generation, self.subtask),
                checkpoint,
                length: open.length,
                records: open.records,
            };
            self.pending.push(Pending { file, is_renamed: false, is_rename_durable: Arc::default() });
            open.file
        });
        let committables: Vec<_> = self.pending.iter().map(|pending| pending.file.encode()).collect();
        let directory = self.directory.clone();
        Ok(Box::new(move || {
            let is_needed = file.is_some() || !renamed.is_empty();
            if let Some(file) = file {
                file.sync_all().or_error(ErrorKind::Transient, directory.display())?;
            }
            if is_needed {
                sync_directory(&directory).or_error(ErrorKind::Transient, directory.display())?;
            }
            renamed.iter().for_each(|is_durable| is_durable.store(true, Ordering::Release));
            Ok(committables)
        }))
    }

    fn commit(&mut self, checkpoint: CheckpointId) -> Result<()> {
        for pending in &mut self.pending {
            if !pending.is_renamed && pending.file.checkpoint <= checkpoint {
                rename(&self.directory, &pending.file)?;
                pending.is_renamed = true;
            }
        }
        Ok(())
    }
}

fn rename(directory: &Path, file: &PendingFile) -> Result<()> {
    let part = directory.join(&file.part);
    match fs::rename(directory.join(&file.pending), &part) {
        // Recovery was faster.
        Err(_) if part.exists() => Ok(()),
        renamed => renamed.or_error(ErrorKind::Transient, format!("cannot finish {}", part.display())),
    }
}
