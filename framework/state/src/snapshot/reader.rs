use std::{fmt::Display, ops::Range, sync::Arc};

use bytes::Bytes;
use flott_core::{
    Error, ErrorKind, KeyGroupRange, OperatorUid, Result,
    snapshot::{RestoredKeyed, RestoredOperator},
};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

use super::{
    FOOTER_BYTES, FORMAT, HEADER_BYTES,
    index::{Footer, GroupEntry, Section, decode_header, decode_index},
};
use crate::storage::failed;

/// How much is read at a time, unless a single key group has more.
const READ_BYTES_MAX: u64 = 8 << 20;

/// Reads parts of a snapshot file.
pub struct SnapshotReader {
    store: Arc<dyn ObjectStore>,
    path: String,
    sections: Vec<Section>,
}

impl SnapshotReader {
    /// Reads and checks the index of a file of `bytes` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when the file is missing, damaged or of a later format; [`ErrorKind::Transient`] when it
    /// cannot be read now.
    pub async fn open(store: &Arc<dyn ObjectStore>, path: &str, bytes: u64) -> Result<Self> {
        let mut reader = Self { store: Arc::clone(store), path: path.to_owned(), sections: Vec::new() };
        let head = reader.store.head(&Path::from(path)).await;
        let size = head.map_err(|error| failed("read", path, error))?.size;
        if size != bytes {
            return Err(reader.damaged(format_args!("it has {size} bytes instead of {bytes}")));
        }
        if size < HEADER_BYTES + FOOTER_BYTES {
            return Err(reader.damaged("it is too short"));
        }
        let header = reader.range(0..HEADER_BYTES).await?;
        let format = decode_header(&header).map_err(|what| reader.damaged(what))?;
        FORMAT.check(format).map_err(|error| error.context(path))?;
        let footer = reader.range(size - FOOTER_BYTES..size).await?;
        let footer = Footer::decode(&footer, size).map_err(|what| reader.damaged(what))?;
        let index_end = footer.index_offset + footer.index_length;
        let index = reader.range(footer.index_offset..index_end).await?;
        if crc32c::crc32c(&index) != footer.index_crc32c {
            return Err(reader.damaged("the checksum of the index is wrong"));
        }
        reader.sections =
            decode_index(format, &index, footer.index_offset).map_err(|error| reader.damaged(error))?;
        Ok(reader)
    }

    /// The keyed states in the file.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Adds the key groups of `range` of an operator's states to `restored`.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when the file is damaged or another one of the same operator has another declaration;
    /// [`ErrorKind::Transient`] when it cannot be read now.
    pub async fn restore(
        &self,
        operator: &OperatorUid,
        range: KeyGroupRange,
        restored: &mut RestoredOperator,
    ) -> Result<()> {
        for section in self.sections.iter().filter(|section| section.operator == *operator) {
            let keyed = restored.keyed.entry(section.state.clone()).or_default();
            let written = section.written.clone().map_err(|why| self.of_later_version(section, &why))?;
            match &keyed.written {
                Some(other) if *other != written => {
                    let state = &section.state;
                    return Err(
                        self.damaged(format_args!("state {state:?} has another declaration than elsewhere"))
                    );
                }
                _ => keyed.written = Some(written),
            }
            self.read_groups(section.within(range), keyed).await?;
        }
        Ok(())
    }

    async fn read_groups(&self, mut groups: &[GroupEntry], keyed: &mut RestoredKeyed) -> Result<()> {
        while let Some(first) = groups.first() {
            let fits = |entry: &GroupEntry| entry.offset + entry.length - first.offset <= READ_BYTES_MAX;
            let (run, rest) = groups.split_at(groups.partition_point(fits).max(1));
            let end = run.last().map_or(first.offset, |last| last.offset + last.length);
            let bytes = self.range(first.offset..end).await?;
            let mut remaining = &bytes[..];
            for entry in run {
                let length = usize::try_from(entry.length).unwrap_or(usize::MAX);
                let (group, after) =
                    remaining.split_at_checked(length).ok_or_else(|| self.damaged("it is cut off"))?;
                if crc32c::crc32c(group) != entry.crc32c {
                    let number = entry.group.0;
                    return Err(self.damaged(format_args!("the checksum of key group {number} is wrong")));
                }
                keyed.groups.push((entry.group, group.to_vec()));
                remaining = after;
            }
            groups = rest;
        }
        Ok(())
    }

    async fn range(&self, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let length = range.end - range.start;
        let bytes = self.store.get_range(&Path::from(self.path.as_str()), range).await;
        let bytes = bytes.map_err(|error| failed("read", &self.path, error))?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(self.damaged("it is cut off")) }
    }

    fn of_later_version(&self, section: &Section, why: &str) -> Error {
        let Section { operator, state, .. } = section;
        let message = format!(
            "snapshot file {}: operator {:?}, state {state:?}: {why}; a newer Flott wrote it: run the newer binary",
            self.path,
            operator.as_str()
        );
        Error::new(ErrorKind::State, message)
    }

    fn damaged(&self, what: impl Display) -> Error {
        Error::new(ErrorKind::State, format!("snapshot file {} is damaged: {what}", self.path))
    }
}
