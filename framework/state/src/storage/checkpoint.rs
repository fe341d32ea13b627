//! The files of checkpoints.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use flott_core::{
    AttemptId, CheckpointId, Error, ErrorKind, KeyGroupRange, LeaderEpoch, OperatorUid, Result, SubtaskIndex,
    VertexId, snapshot::RestoredOperator,
};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path};
use tokio::runtime::Handle;

use super::{
    CheckpointEntry, CheckpointStorage, Journal, failed, json,
    manifest::{self, Manifest},
};
use crate::snapshot::{SnapshotReader, SnapshotWriter};

const DIRECTORY: &str = "checkpoints";

/// Largest manifest that is read.
const MANIFEST_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Where the files of one checkpoint are. Leader epoch and attempt are part of the name, so that an old attempt never
/// writes where a new one does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointDirectory(String);

impl CheckpointDirectory {
    /// The directory of a checkpoint.
    #[must_use]
    pub fn new(checkpoint: CheckpointId, epoch: LeaderEpoch, attempt: AttemptId) -> Self {
        Self(format!("{DIRECTORY}/chk-{checkpoint:020}-{epoch}-{attempt}", checkpoint = checkpoint.0))
    }

    /// Path of a task's snapshot file.
    #[must_use]
    pub fn snapshot_file(&self, vertex: VertexId, subtask: SubtaskIndex) -> String {
        format!("{}/{vertex}-{subtask}.snap", self.0)
    }

    /// The leader epoch in the name of a directory.
    fn epoch_of(directory: &Path) -> Option<LeaderEpoch> {
        let mut numbers = directory.filename()?.strip_prefix("chk-")?.split('-');
        numbers.nth(1)?.parse().ok().map(LeaderEpoch)
    }

    fn manifest(&self) -> String {
        format!("{}/manifest.json", self.0)
    }

    /// Its path within the checkpoint directory of the job.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CheckpointStorage {
    /// Starts a snapshot file. Not for use on an async thread; `runtime` is where uploads run.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn create_snapshot(&self, path: &str, runtime: Handle) -> Result<SnapshotWriter> {
        SnapshotWriter::create(&self.store, path, runtime)
    }

    /// Writes a manifest and returns what the journal keeps of it. The checkpoint is complete only when the journal says so.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn write_manifest(&self, manifest: &Manifest) -> Result<CheckpointEntry> {
        let directory = CheckpointDirectory::new(manifest.checkpoint, manifest.epoch, manifest.attempt);
        let path = directory.manifest();
        let bytes = serde_json::to_vec(manifest)
            .map_err(|error| Error::internal(format!("a manifest cannot be written: {error}")))?;
        let entry = CheckpointEntry {
            checkpoint: manifest.checkpoint,
            directory: directory.0,
            is_final: manifest.is_final,
            manifest_bytes: bytes.len() as u64,
            manifest_crc: crc32c::crc32c(&bytes),
        };
        let put = self.store.put(&Path::from(path.as_str()), PutPayload::from(bytes)).await;
        put.map_err(|error| failed("write", &path, error))?;
        Ok(entry)
    }

    /// Reads the manifest of a checkpoint.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when it is missing or damaged.
    pub async fn read_manifest(&self, entry: &CheckpointEntry) -> Result<Manifest> {
        let path = CheckpointDirectory(entry.directory.clone()).manifest();
        let damaged = |what: String| json::damaged(manifest::FORMAT, &path, what);
        let location = Path::from(path.as_str());
        let size = self.store.head(&location).await.map_err(|error| failed("read", &path, error))?.size;
        if size != entry.manifest_bytes || size > MANIFEST_BYTES_MAX {
            return Err(damaged(format!("it has {size} bytes instead of {}", entry.manifest_bytes)));
        }
        let read = self.store.get(&location).await.map_err(|error| failed("read", &path, error))?;
        let bytes = read.bytes().await.map_err(|error| failed("read", &path, error))?;
        if crc32c::crc32c(&bytes) != entry.manifest_crc {
            return Err(damaged("its checksum is wrong".into()));
        }
        json::read(manifest::FORMAT, &path, &bytes)
    }

    /// Makes sure, quickly, that all snapshot files of a checkpoint are there and of the right size.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when one is not.
    pub async fn verify(&self, manifest: &Manifest) -> Result<()> {
        let files = manifest.operators.iter().flat_map(|operator| &operator.files);
        let distinct: BTreeMap<&str, u64> = files.map(|file| (file.path.as_str(), file.bytes)).collect();
        for (path, bytes) in distinct {
            SnapshotReader::open(&self.store, path, bytes).await?;
        }
        Ok(())
    }

    /// Reads what a checkpoint has for one operator and these key groups.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when a file is missing or damaged, or the files do not have all key groups.
    pub async fn restore(
        &self,
        manifest: &Manifest,
        uid: &OperatorUid,
        groups: KeyGroupRange,
    ) -> Result<RestoredOperator> {
        let mut restored = RestoredOperator::default();
        for file in manifest.files_within(uid, groups)? {
            let reader = SnapshotReader::open(&self.store, &file.path, file.bytes).await?;
            reader.restore(uid, groups, &mut restored).await?;
        }
        Ok(restored)
    }

    /// Deletes all files of a checkpoint: its manifest first, so that nothing incomplete ever looks complete.
    ///
    /// # Errors
    /// When the store refuses; some files may be left.
    pub async fn discard(&self, directory: &str) -> Result<()> {
        let manifest = CheckpointDirectory(directory.to_owned()).manifest();
        let deleted = self.store.delete(&Path::from(manifest.as_str())).await;
        ignore_missing(deleted).map_err(|error| failed("delete", &manifest, error))?;
        let prefix = Path::from(directory);
        let mut files = self.store.list(Some(&prefix));
        while let Some(file) = files.try_next().await.map_err(|error| failed("list", directory, error))? {
            let deleted = self.store.delete(&file.location).await;
            ignore_missing(deleted).map_err(|error| failed("delete", file.location.as_ref(), error))?;
        }
        if let Some(root) = &self.root {
            match tokio::fs::remove_dir_all(root.join(prefix.as_ref())).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::from(error).with_kind(ErrorKind::Transient).context(directory));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Deletes the files of checkpoints that were never completed or are not kept any more: all but those of
    /// `kept` directories and of the current leader epoch. Only for a JobManager that has just become leader, before it
    /// deploys anything; does no harm if that one has been deposed since.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn discard_leftovers(&self, kept: &BTreeSet<&str>) -> Result<()> {
        let current = Journal::read(self).await?.unwrap_or_default();
        let listed = self.store.list_with_delimiter(Some(&Path::from(DIRECTORY))).await;
        let directories = listed.map_err(|error| failed("list", DIRECTORY, error))?.common_prefixes;
        let is_kept = |directory: &str| {
            kept.contains(directory) || current.checkpoints.iter().any(|entry| entry.directory == directory)
        };
        for directory in directories {
            let is_old = CheckpointDirectory::epoch_of(&directory).is_some_and(|epoch| epoch < current.epoch);
            if is_old && !is_kept(directory.as_ref()) {
                self.discard(directory.as_ref()).await?;
            }
        }
        Ok(())
    }

    pub(super) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }
}

pub(super) fn ignore_missing(result: object_store::Result<()>) -> object_store::Result<()> {
    match result {
        Err(object_store::Error::NotFound { .. }) => Ok(()),
        result => result,
    }
}
