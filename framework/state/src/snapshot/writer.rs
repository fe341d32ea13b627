//! Writes a snapshot file.

use std::sync::Arc;

use flott_core::{
    Error, ErrorKind, KeyGroup, OperatorUid, Result, Schema,
    snapshot::{KeyedSnapshotSink, WriteKeyed},
};
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, path::Path};
use tokio::runtime::Handle;

use super::{
    PART_BYTES,
    format::{self, GroupEntry, Index, StateSection},
};
use crate::storage::failed;

/// A snapshot file that is being written, part by part. Not for use on an async thread: it waits for its uploads on the
/// runtime that it was given.
pub struct SnapshotWriter {
    path: String,
    runtime: Handle,
    upload: Box<dyn MultipartUpload>,
    buffer: Vec<u8>,
    written: u64,
    index: Index,
}

impl SnapshotWriter {
    /// Starts the file at `path`.
    ///
    /// # Errors
    /// When the store refuses.
    pub(crate) fn create(store: &Arc<dyn ObjectStore>, path: &str, runtime: Handle) -> Result<Self> {
        let location = Path::from(path);
        let upload = runtime.block_on(store.put_multipart(&location)).map_err(|error| failed("write", path, error))?;
        let mut buffer = Vec::with_capacity(64 * 1024);
        buffer.extend_from_slice(&format::header());
        Ok(Self { path: path.into(), runtime, upload, buffer, written: 0, index: Index::new() })
    }

    /// Writes one keyed state.
    ///
    /// # Errors
    /// When the store refuses; the file must be aborted.
    pub fn keyed(&mut self, uid: &OperatorUid, name: &str, schema: Schema, write: WriteKeyed) -> Result<()> {
        self.index.push(StateSection { uid: uid.clone(), name: name.into(), schema, groups: Vec::new() });
        write(self)
    }

    /// Completes the file; returns its size in bytes.
    ///
    /// # Errors
    /// When the store refuses; the file does not exist then.
    pub fn finish(mut self) -> Result<u64> {
        let offset = self.written + self.buffer.len() as u64;
        let index = serde_json::to_vec(&self.index)
            .map_err(|error| Error::internal(format!("the index of a snapshot cannot be written: {error}")))?;
        self.buffer.extend_from_slice(&index);
        self.buffer.extend_from_slice(&format::footer(offset, &index)?);
        self.send_part()?;
        let completed = self.runtime.block_on(self.upload.complete());
        completed.map_err(|error| failed("write", &self.path, error))?;
        Ok(self.written)
    }

    /// Gives the file up.
    pub fn abort(mut self) {
        if let Err(error) = self.runtime.block_on(self.upload.abort()) {
            tracing::warn!(path = self.path, %error, "a snapshot file that was given up is left behind");
        }
    }

    fn send_part(&mut self) -> Result<()> {
        let part = std::mem::take(&mut self.buffer);
        self.written += part.len() as u64;
        let sent = self.runtime.block_on(self.upload.put_part(part.into()));
        sent.map_err(|error| failed("write", &self.path, error))
    }
}

impl KeyedSnapshotSink for SnapshotWriter {
    fn key_group(&mut self, group: KeyGroup, entries: u64, bytes: &[u8]) -> Result<()> {
        let offset = self.written + self.buffer.len() as u64;
        let section = self.index.last_mut().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a key group was written before the state it belongs to")
        })?;
        if section.groups.last().is_some_and(|last| last.group >= group) {
            return Err(Error::internal(format!("key group {} was written out of order", group.0)));
        }
        let crc = crc32c::crc32c(bytes);
        section.groups.push(GroupEntry { group, entries, offset, bytes: bytes.len() as u64, crc });
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PART_BYTES { self.send_part() } else { Ok(()) }
    }
}
