use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use flott_core::{
    Batch, CheckpointId, Error, ErrorKind, Generation, Record, Result, ResultExt, SubtaskIndex,
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
    content: Arc<Mutex<Content>>,
    is_renamed: bool,
    is_rename_durable: Arc<AtomicBool>,
}

/// Whether what was written to a file is on disk.
enum Content {
    Unsynced(File),
    Synced,
    /// Nobody knows. To ask again would be no use: the system forgets what it could not write.
    Failed(String),
}

impl Content {
    /// Sees to it that it is on disk: once, for whichever checkpoint comes first. Blocks.
    fn sync(content: &Mutex<Self>) -> Result<()> {
        let mut content = content.lock().unwrap_or_else(PoisonError::into_inner);
        if let Self::Unsynced(file) = &*content {
            *content =
                file.sync_all().map_or_else(|error| Self::Failed(error.to_string()), |()| Self::Synced);
        }
        match &*content {
            Self::Failed(message) => Err(Error::transient(message.clone())),
            Self::Unsynced(_) | Self::Synced => Ok(()),
        }
    }
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
        if let Some(open) = self.open.take() {
            let file = PendingFile {
                pending: open.name,
                part: PendingFile::part_name(checkpoint, self.generation, self.subtask),
                checkpoint,
                length: open.length,
                records: open.records,
            };
            let content = Arc::new(Mutex::new(Content::Unsynced(open.file)));
            self.pending.push(Pending {
                file,
                content,
                is_renamed: false,
                is_rename_durable: Arc::default(),
            });
        }
        // Also those of checkpoints that were given up before anybody had synced them.
        let contents: Vec<_> = self.pending.iter().map(|pending| Arc::clone(&pending.content)).collect();
        let committables: Vec<_> = self.pending.iter().map(|pending| pending.file.encode()).collect();
        let directory = self.directory.clone();
        Ok(Box::new(move || {
            for content in &contents {
                Content::sync(content).map_err(|error| error.context(directory.display()))?;
            }
            if !contents.is_empty() {
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

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use flott_core::{AttemptId, EventTime, OperatorUid};

    use super::*;
    use crate::format::Json;

    fn writer(directory: &Path) -> FileWriter<u64> {
        let context = WriterContext {
            uid: OperatorUid::new("totals").unwrap(),
            job: Arc::default(),
            subtask: SubtaskIndex(0),
            parallelism: 1,
            attempt: AttemptId(1),
            generation: Generation(1),
            metrics: Arc::default(),
        };
        FileWriter::new(directory.to_owned(), Arc::new(Json), &context).unwrap()
    }

    fn write(writer: &mut FileWriter<u64>, record: u64) {
        let mut batch = Batch::new();
        batch.push(record, EventTime::MIN);
        writer.write(&mut batch).unwrap();
    }

    fn unsynced(writer: &FileWriter<u64>) -> usize {
        let contents = writer.pending.iter().map(|pending| pending.content.lock().unwrap());
        contents.filter(|content| matches!(**content, Content::Unsynced(_))).count()
    }

    #[test]
    fn what_a_checkpoint_that_was_given_up_has_not_synced_the_next_one_syncs() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = writer(directory.path());
        write(&mut writer, 1);
        drop(writer.precommit(CheckpointId(1)).unwrap());
        write(&mut writer, 2);
        let sync = writer.precommit(CheckpointId(2)).unwrap();
        assert_eq!(unsynced(&writer), 2);
        assert_eq!(sync().unwrap().len(), 2);
        assert_eq!(unsynced(&writer), 0);
    }

    #[test]
    fn what_could_not_be_synced_is_never_listed() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = writer(directory.path());
        write(&mut writer, 1);
        let sync = writer.precommit(CheckpointId(1)).unwrap();
        // A pipe cannot be synced.
        let (_, pipe) = std::io::pipe().unwrap();
        *writer.pending[0].content.lock().unwrap() = Content::Unsynced(OwnedFd::from(pipe).into());
        assert_eq!(sync().unwrap_err().kind(), ErrorKind::Transient);
        assert!(writer.precommit(CheckpointId(2)).unwrap()().is_err());
    }
}
