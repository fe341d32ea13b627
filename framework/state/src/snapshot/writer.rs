use std::sync::Arc;

use bytes::Bytes;
use flott_core::{Error, OperatorUid, Result, snapshot::WriteKeyed, state::StateDeclaration};
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, path::Path};
use tokio::runtime::Handle;

use super::encoder::{PART_BYTES_MAX, SnapshotEncoder};
use crate::storage::failed;

/// A snapshot file that is being written. Not for use on an async thread: it waits for its uploads on the runtime that
/// it was given. Holds a part or two in memory, not the file.
pub struct SnapshotWriter {
    encoder: SnapshotEncoder<Upload>,
}

impl SnapshotWriter {
    /// Starts the file at `path`.
    ///
    /// # Errors
    /// When the store refuses.
    pub(crate) fn create(store: &Arc<dyn ObjectStore>, path: &str, runtime: Handle) -> Result<Self> {
        Self::in_parts(PART_BYTES_MAX, store, path, runtime)
    }

    pub(crate) fn in_parts(
        part_bytes: usize,
        store: &Arc<dyn ObjectStore>,
        path: &str,
        runtime: Handle,
    ) -> Result<Self> {
        let (store, path) = (Arc::clone(store), path.to_owned());
        let upload = Upload { store, path, runtime, first: None, parts: None };
        Ok(Self { encoder: SnapshotEncoder::new(part_bytes, upload)? })
    }

    /// Writes one keyed state.
    ///
    /// # Errors
    /// When the store refuses; the file must be aborted.
    pub fn keyed(
        &mut self,
        uid: &OperatorUid,
        declaration: StateDeclaration,
        write: WriteKeyed,
    ) -> Result<()> {
        self.encoder.section(uid.clone(), declaration, write)
    }

    /// Completes the file; returns its size in bytes.
    ///
    /// # Errors
    /// When the store refuses; the file does not exist then.
    pub fn finish(self) -> Result<u64> {
        let (size, mut upload) = self.encoder.finish()?;
        upload.finish().inspect_err(|_| upload.abort())?;
        Ok(size)
    }

    /// Gives the file up.
    pub fn abort(self) {
        self.encoder.into_parts().abort();
    }
}

/// Takes the parts of a file.
pub(super) trait Parts {
    /// Takes one.
    fn part(&mut self, part: Bytes) -> Result<()>;
}

/// Uploads a file in parts, or in one go if there is only one.
struct Upload {
    store: Arc<dyn ObjectStore>,
    path: String,
    runtime: Handle,
    first: Option<Bytes>,
    parts: Option<Box<dyn MultipartUpload>>,
}

impl Parts for Upload {
    fn part(&mut self, part: Bytes) -> Result<()> {
        if self.parts.is_none() {
            let Some(first) = self.first.take() else {
                self.first = Some(part);
                return Ok(());
            };
            let path = Path::from(self.path.as_str());
            let begun = self.runtime.block_on(self.store.put_multipart(&path));
            self.parts = Some(begun.map_err(|error| self.failed(error))?);
            self.put(first)?;
        }
        self.put(part)
    }
}

impl Upload {
    fn put(&mut self, part: Bytes) -> Result<()> {
        let Some(parts) = &mut self.parts else {
            return Err(Error::internal("a part of an upload that has not begun"));
        };
        self.runtime.block_on(parts.put_part(part.into())).map_err(|error| self.failed(error))
    }

    fn finish(&mut self) -> Result<()> {
        let path = Path::from(self.path.as_str());
        let finished = match (&mut self.parts, self.first.take()) {
            (Some(parts), _) => self.runtime.block_on(parts.complete()),
            (None, first) => self.runtime.block_on(self.store.put(&path, first.unwrap_or_default().into())),
        };
        finished.map(drop).map_err(|error| self.failed(error))
    }

    fn abort(&mut self) {
        if let Some(parts) = &mut self.parts
            && let Err(error) = self.runtime.block_on(parts.abort())
        {
            tracing::warn!(path = self.path, %error, "a snapshot file that was given up is left behind");
        }
    }

    fn failed(&self, error: object_store::Error) -> Error {
        failed("write", &self.path, error)
    }
}
