//! What a checkpoint remembers of a pending file.

use std::{fs::File, io, path::Path};

use flott_core::{CheckpointId, Error, ErrorKind, Generation, Record, Result, SubtaskIndex, format::Format};

const FORMAT: Format = Format::first("committable of a file sink");
pub(super) const PENDING_PREFIX: &str = ".pending-";
const PART_PREFIX: &str = "part-";

/// A file that was synced at a barrier, with the name it gets when the checkpoint is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PendingFile {
    pub(super) pending: String,
    pub(super) part: String,
    pub(super) checkpoint: CheckpointId,
    pub(super) length: u64,
    pub(super) records: u64,
}

impl PendingFile {
    pub(super) fn pending_name(generation: Generation, subtask: SubtaskIndex, sequence: u64) -> String {
        format!("{PENDING_PREFIX}{generation}-{subtask}-{sequence}")
    }

    /// The generation that an unfinished file belongs to, if `name` is one's name.
    pub(super) fn pending_generation(name: &str) -> Option<Generation> {
        name.strip_prefix(PENDING_PREFIX)?.split_once('-')?.0.parse().ok().map(Generation)
    }

    pub(super) fn part_name(
        checkpoint: CheckpointId,
        generation: Generation,
        subtask: SubtaskIndex,
    ) -> String {
        format!("{PART_PREFIX}{checkpoint}-{generation}-{subtask}.jsonl")
    }

    /// The checkpoint that a finished file belongs to, if `name` is one's name.
    pub(super) fn part_checkpoint(name: &str) -> Option<CheckpointId> {
        name.strip_prefix(PART_PREFIX)?.split_once('-')?.0.parse().ok().map(CheckpointId)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        u8::try_from(FORMAT.newest).expect("formats are few").encode(&mut bytes);
        self.pending.encode(&mut bytes);
        self.part.encode(&mut bytes);
        (self.checkpoint.0, self.length, self.records).encode(&mut bytes);
        bytes
    }

    /// Reads what [`Self::encode`] wrote, by the rule of [`flott_core::format`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = |why: &str| Error::new(ErrorKind::State, format!("{} is damaged: {why}", FORMAT.name));
        let mut input = bytes;
        let format = u8::decode(&mut input).map_err(|error| damaged(&error.to_string()))?;
        FORMAT.check(format.into())?;
        let decoded = <(String, String, u64, u64, u64)>::decode(&mut input);
        let (pending, part, checkpoint, length, records) =
            decoded.map_err(|error| damaged(&error.to_string()))?;
        // The names become paths: a damaged checkpoint must not reach other files.
        let is_name = |name: &str, prefix: &str| name.starts_with(prefix) && !name.contains(['/', '\\']);
        if !is_name(&pending, PENDING_PREFIX) || !is_name(&part, PART_PREFIX) {
            return Err(damaged("impossible file names"));
        }
        Ok(Self { pending, part, checkpoint: CheckpointId(checkpoint), length, records })
    }
}

/// Makes renames and new names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::golden;

    fn file() -> PendingFile {
        PendingFile {
            pending: PendingFile::pending_name(Generation(2), SubtaskIndex(1), 7),
            part: PendingFile::part_name(CheckpointId(9), Generation(2), SubtaskIndex(1)),
            checkpoint: CheckpointId(9),
            length: 100,
            records: 3,
        }
    }

    #[test]
    fn golden_committables_stay_readable() {
        let bytes = golden("file-committable-v1.bin", &file().encode());
        assert_eq!(PendingFile::decode(&bytes).unwrap(), file());
    }

    #[test]
    fn damage_is_refused_and_what_later_versions_append_is_not() {
        let bytes = file().encode();
        assert_eq!(PendingFile::decode(&bytes).unwrap(), file());
        for cut in 0..bytes.len() {
            assert!(PendingFile::decode(&bytes[..cut]).is_err());
        }
        assert_eq!(PendingFile::decode(&[&bytes[..], &[7]].concat()).unwrap(), file());
        let newer = PendingFile::decode(&[2, 0xFF]).unwrap_err().to_string();
        assert!(newer.contains("written by a newer Flott: format 2"), "{newer}");
        let evil = PendingFile { pending: ".pending-/../x".into(), ..file() };
        assert!(PendingFile::decode(&evil.encode()).is_err());
    }

    #[test]
    fn pending_names_tell_their_generation() {
        assert_eq!(PendingFile::pending_generation(&file().pending), Some(Generation(2)));
        assert_eq!(PendingFile::pending_generation(".pending-x-1-1"), None);
        assert_eq!(PendingFile::pending_generation(&file().part), None);
    }

    #[test]
    fn part_names_tell_their_checkpoint() {
        assert_eq!(PendingFile::part_checkpoint(&file().part), Some(CheckpointId(9)));
        assert_eq!(PendingFile::part_checkpoint("part-x-1-1.jsonl"), None);
        assert_eq!(PendingFile::part_checkpoint("notes.txt"), None);
    }
}
