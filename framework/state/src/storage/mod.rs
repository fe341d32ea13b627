//! The checkpoint directory of a job: its journal, its manifests, its snapshot files.
//!
//! ```text
//! journal/00000000000000000042.json               what is true of the job; the highest number counts (see [`Journal`])
//! checkpoints/chk-00000000000000000007-3-1/       checkpoint 7, taken in leader epoch 3, attempt 1
//!     manifest.json                               written last
//!     0-1.snap                                    keyed state of vertex 0, subtask 1
//! ```

mod checkpoint;
mod journal;
mod json;
mod leader;
mod manifest;
mod record;
mod written;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;

use std::{path::Path as FilePath, sync::Arc};

use flott_core::{Error, ErrorKind, Result, ResultExt, random};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, local::LocalFileSystem, path::Path};

pub use checkpoint::CheckpointDirectory;
pub use journal::{AppendError, Journal, Observed};
pub use leader::{Leader, Reign};
pub use manifest::{EnumeratorManifest, KeyedFile, ListManifest, Manifest, OperatorManifest};
pub use record::{CheckpointEntry, JobRecord, TerminalRecord};
pub use written::{WrittenList, WrittenOperator, WrittenSnapshot};

/// Where a job's checkpoints are.
#[derive(Clone, Debug)]
pub struct CheckpointStorage {
    store: Arc<dyn ObjectStore>,
    /// The directory, if the store is one. Uploads of processes that were killed are seen only there.
    root: Option<Arc<FilePath>>,
}

/// A failure of the store, in words that say what to do.
pub(crate) fn failed(what: &str, path: &str, error: object_store::Error) -> Error {
    let kind = match &error {
        object_store::Error::NotFound { .. } => ErrorKind::State,
        object_store::Error::PermissionDenied { .. } => ErrorKind::Settings,
        _ => ErrorKind::Transient,
    };
    let text = Error::from(error).to_string();
    let hint = match kind {
        ErrorKind::State => "; was it deleted?",
        ErrorKind::Settings => "; check the permissions of the checkpoint directory",
        _ if text.contains("No space left") => "; free some space, the job goes on by itself",
        _ => "",
    };
    Error::new(kind, format!("cannot {what} {path} in the checkpoint directory: {text}{hint}"))
}

impl CheckpointStorage {
    /// Opens the directory at `url`: `file:///var/lib/job`, or a path. Creates it if it is not there, and makes sure that
    /// it can be written.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] when the URL is not supported or the directory cannot be written.
    pub async fn open(url: &str) -> Result<Self> {
        let path = match url.split_once("://") {
            Some(("file", path)) if path.starts_with('/') => path,
            Some(("file", _)) => {
                let message =
                    format!("checkpoint_dir {url:?}: write three slashes, as in file:///var/lib/job");
                return Err(Error::new(ErrorKind::Settings, message));
            }
            Some((scheme, _)) => {
                let message = format!("checkpoint_dir {url:?}: {scheme}:// is not supported; use file:///…");
                return Err(Error::new(ErrorKind::Settings, message));
            }
            None => url,
        };
        let context =
            format!("checkpoint_dir {url:?} cannot be used; choose a directory that this process may write");
        tokio::fs::create_dir_all(path).await.or_error(ErrorKind::Settings, &context)?;
        let store = LocalFileSystem::new_with_prefix(path).or_error(ErrorKind::Settings, &context)?;
        // What a completed checkpoint lets sinks commit must survive a crash of the machine.
        let store = store.with_fsync(true);
        let root = Some(FilePath::new(path).into());
        let storage = Self { store: Arc::new(store), root };
        storage.probe().await.or_error(ErrorKind::Settings, &context)?;
        Ok(storage)
    }

    /// Where it is on this machine, for people.
    #[must_use]
    pub fn place(&self) -> String {
        let root = self.root.as_ref().map(|root| root.canonicalize().unwrap_or_else(|_| root.to_path_buf()));
        root.map_or_else(|| self.store.to_string(), |root| root.display().to_string())
    }

    async fn probe(&self) -> Result<()> {
        // Processes of several machines may have one id: in containers it is usually 1.
        let path = Path::from(format!("probe-{:016x}", random::number()));
        self.store.put(&path, PutPayload::from_static(b"flott")).await?;
        self.store.delete(&path).await?;
        Ok(())
    }
}
