use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use flott_core::{
    Batch, CheckpointId, ErrorKind, Generation, Record, Result, ResultExt, SubtaskIndex,
    operator::{Readiness, StepTime},
    sink::{SinkWriter, WriterContext},
    snapshot::WriteList,
};

use super::{committable::PendingFile, output_files::OutputFiles};
use crate::{
    format::EncodeFormat,
    io::{JobNumber, Worker},
};

/// Bytes that are gathered before they are given to the worker.
const BUFFER_BYTES: usize = 256 * 1024;
/// Bytes that wait for the worker, before the task stalls. A fast writer gathers about so much while a file is synced.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Encodes records; its worker does all that has to do with files. A writer that is dropped leaves its files to recovery, which
/// finishes those that a complete checkpoint lists and deletes the others.
pub(super) struct FileWriter<T> {
    format: Arc<dyn EncodeFormat<T>>,
    generation: Generation,
    subtask: SubtaskIndex,
    sequence: u64,
    buffer: Vec<u8>,
    open: Option<OpenFile>,
    pending: Vec<Pending>,
    worker: Worker<OutputFiles>,
}

/// The file that takes the records since the last barrier.
struct OpenFile {
    name: String,
    length: u64,
    records: u64,
}

/// A file that must be listed: until its final name is known to be on disk.
struct Pending {
    file: PendingFile,
    /// The job that gives it its final name.
    renaming: Option<JobNumber>,
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
            format,
            generation: context.generation,
            subtask: context.subtask,
            sequence: 0,
            buffer: Vec::new(),
            open: None,
            pending: Vec::new(),
            worker: Worker::spawn("file-write", WAITING_BYTES_MAX, OutputFiles::new(directory))?,
        })
    }

    fn open(&mut self) -> &mut OpenFile {
        self.open.get_or_insert_with(|| {
            let name = PendingFile::pending_name(self.generation, self.subtask, self.sequence);
            self.sequence += 1;
            let created = name.clone();
            self.worker.submit(0, move |files| files.create(&created));
            OpenFile { name, length: 0, records: 0 }
        })
    }

    fn flush(&mut self) {
        if !self.buffer.is_empty() {
            let next = Vec::with_capacity(self.buffer.capacity());
            let buffer = std::mem::replace(&mut self.buffer, next);
            self.open().length += buffer.len() as u64;
            self.worker.submit(buffer.len(), move |files| files.append(&buffer));
        }
    }
}

impl<T: Record> SinkWriter for FileWriter<T> {
    type In = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<()> {
        let records = batch.len() as u64;
        if records == 0 {
            return Ok(());
        }
        self.open().records += records;
        for record in batch.records.drain(..) {
            self.format.encode(&record, &mut self.buffer)?;
            self.buffer.push(b'\n');
        }
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
        Ok(())
    }

    fn readiness(&self) -> Result<Readiness> {
        self.worker.readiness()
    }

    fn advance(&mut self, _time: StepTime) -> Result<()> {
        self.worker.check()
    }

    fn precommit(&mut self, checkpoint: CheckpointId) -> Result<WriteList> {
        self.worker.check()?;
        self.flush();
        self.pending.retain(|pending| !pending.is_rename_durable.load(Ordering::Acquire));
        if let Some(open) = self.open.take() {
            self.worker.submit(0, |files| {
                files.close();
                Ok(())
            });
            let file = PendingFile {
                pending: open.name,
                part: PendingFile::part_name(checkpoint, self.generation, self.subtask),
                checkpoint,
                length: open.length,
                records: open.records,
            };
            self.pending.push(Pending { file, renaming: None, is_rename_durable: Arc::default() });
        }
        let committables: Vec<_> = self.pending.iter().map(|pending| pending.file.encode()).collect();
        let jobs = self.worker.jobs();
        Ok(Box::new(move || {
            // Also files of checkpoints that were given up before anybody had synced them.
            jobs.run(OutputFiles::sync)?;
            Ok(committables)
        }))
    }

    fn commit(&mut self, checkpoint: CheckpointId) -> Result<()> {
        for pending in &mut self.pending {
            if pending.renaming.is_none() && pending.file.checkpoint <= checkpoint {
                let (file, is_durable) = (pending.file.clone(), Arc::clone(&pending.is_rename_durable));
                let rename = move |files: &mut OutputFiles| files.rename(&file, is_durable);
                pending.renaming = Some(self.worker.submit(0, rename));
            }
        }
        Ok(())
    }

    fn has_committed(&self, checkpoint: CheckpointId) -> bool {
        let mut due = self.pending.iter().filter(|pending| pending.file.checkpoint <= checkpoint);
        due.all(|pending| pending.renaming.is_some_and(|job| self.worker.is_done(job)))
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, os::fd::OwnedFd, path::Path, process::Command, thread};

    use flott_core::{
        EventTime,
        testkit::{verify_drop, writer_context},
    };

    use super::*;
    use crate::format::Json;

    fn writer(directory: &Path) -> FileWriter<u64> {
        FileWriter::new(directory.to_owned(), Arc::new(Json), &writer_context()).unwrap()
    }

    fn write(writer: &mut FileWriter<u64>, record: u64) {
        let mut batch = Batch::new();
        batch.push(record, EventTime::MIN);
        writer.write(&mut batch).unwrap();
    }

    fn unsynced(writer: &FileWriter<u64>) -> usize {
        let (sender, count) = std::sync::mpsc::sync_channel(1);
        let told = writer.worker.jobs().run(move |files| {
            sender.send(files.unsynced.len()).unwrap();
            Ok(())
        });
        told.unwrap();
        count.recv().unwrap()
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
        writer.worker.submit(0, move |files| {
            files.unsynced.push(OwnedFd::from(pipe).into());
            Ok(())
        });
        assert_eq!(sync().unwrap_err().kind(), ErrorKind::Transient);
        assert!(writer.readiness().is_err() && writer.advance(StepTime::default()).is_err());
        assert!(writer.precommit(CheckpointId(2)).is_err(), "to sync it again would be no use");
    }

    /// To open a pipe that nobody reads hangs, as any call does when a file server is away.
    #[test]
    fn a_writer_whose_disk_hangs_stalls_and_is_dropped_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let sealing = RefCell::new(Vec::new());
        verify_drop(|number| {
            let directory = directory.path().join(number.to_string());
            let mut writer = writer(&directory);
            let pipe = directory.join(PendingFile::pending_name(Generation(1), SubtaskIndex(0), 0));
            assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
            let mut batch = Batch { records: vec![u64::MAX; 64 * 1024], times: Vec::new() };
            while writer.readiness().unwrap() == Readiness::Ready {
                writer.write(&mut batch).unwrap();
                batch.records.resize(64 * 1024, u64::MAX);
            }
            writer.advance(StepTime::default()).unwrap();
            assert_eq!(writer.readiness().unwrap(), Readiness::Full);
            sealing.borrow_mut().push(thread::spawn(writer.precommit(CheckpointId(1)).unwrap()));
            writer.commit(CheckpointId(1)).unwrap();
            assert!(!writer.has_committed(CheckpointId(1)));
            Box::new(writer)
        });
        for sealing in sealing.take() {
            assert_eq!(sealing.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
        }
    }
}
