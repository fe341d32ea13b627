//! The files of one writer, as its worker sees them.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use flott_core::{Error, ErrorKind, Result, ResultExt};

use super::committable::{PendingFile, sync_directory};

/// Every call may block. After an error the files are left as they are: to sync one again would be no use, the system forgets
/// what it could not write.
pub(super) struct OutputFiles {
    directory: PathBuf,
    /// The file that takes the records since the last barrier.
    open: Option<File>,
    /// Files that barriers have closed and that are not known to be on disk.
    pub(super) unsynced: Vec<File>,
    /// Renamed files whose new names are not known to be on disk, by the flag that tells when they are.
    renamed: Vec<Arc<AtomicBool>>,
}

impl OutputFiles {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, open: None, unsynced: Vec::new(), renamed: Vec::new() }
    }

    /// Creates the file that takes the records from now on.
    pub(super) fn create(&mut self, name: &str) -> Result<()> {
        let path = self.directory.join(name);
        self.open = Some(File::create(&path).or_error(ErrorKind::Transient, path.display())?);
        Ok(())
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let open = self.open.as_mut().ok_or_else(|| Error::internal("records come and no file is open"))?;
        open.write_all(bytes).or_error(ErrorKind::Transient, self.directory.display())
    }

    /// A barrier: the open file is complete.
    pub(super) fn close(&mut self) {
        self.unsynced.extend(self.open.take());
    }

    /// Makes sure that complete files are on disk, and all names.
    pub(super) fn sync(&mut self) -> Result<()> {
        if self.unsynced.is_empty() && self.renamed.is_empty() {
            return Ok(());
        }
        let synced = self.unsynced.iter().try_for_each(File::sync_all);
        let synced = synced.and_then(|()| sync_directory(&self.directory));
        synced.or_error(ErrorKind::Transient, self.directory.display())?;
        self.unsynced.clear();
        self.renamed.drain(..).for_each(|is_durable| is_durable.store(true, Ordering::Release));
        Ok(())
    }

    /// Gives a file its final name. `is_durable` is set once that is on disk.
    pub(super) fn rename(&mut self, file: &PendingFile, is_durable: Arc<AtomicBool>) -> Result<()> {
        let part = self.directory.join(&file.part);
        match fs::rename(self.directory.join(&file.pending), &part) {
            // Recovery was faster.
            Err(_) if part.exists() => {}
            renamed => {
                renamed.or_error(ErrorKind::Transient, format!("cannot finish {}", part.display()))?;
            }
        }
        self.renamed.push(is_durable);
        Ok(())
    }
}
