//! The parts of a snapshot file as values.

use flott_core::{Error, ErrorKind, KeyGroup, OperatorUid, Result, Schema, record::take};
use serde::{Deserialize, Serialize};

pub(super) const MAGIC: [u8; 8] = *b"FLOTTSNP";
pub(super) const VERSION: u16 = 1;
pub(super) const HEADER_BYTES: usize = 8 + 2;
pub(super) const FOOTER_BYTES: usize = 8 + 4 + 4 + 8;

/// Largest index that a reader accepts.
pub(super) const INDEX_BYTES_MAX: u32 = 256 * 1024 * 1024;

/// Where the entries of one key group are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GroupEntry {
    #[serde(rename = "g")]
    pub(super) group: KeyGroup,
    #[serde(rename = "n")]
    pub(super) entries: u64,
    #[serde(rename = "o")]
    pub(super) offset: u64,
    #[serde(rename = "b")]
    pub(super) bytes: u64,
    #[serde(rename = "c")]
    pub(super) crc: u32,
}

/// One state of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StateSection {
    pub(super) uid: OperatorUid,
    pub(super) name: String,
    pub(super) schema: Schema,
    /// By key group, ascending.
    pub(super) groups: Vec<GroupEntry>,
}

pub(super) type Index = Vec<StateSection>;

/// A damaged file.
pub(super) fn damaged(path: &str, what: &str) -> Error {
    Error::new(ErrorKind::State, format!("snapshot file {path} is damaged: {what}"))
}

pub(super) fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..].copy_from_slice(&VERSION.to_le_bytes());
    header
}

pub(super) fn footer(index_offset: u64, index: &[u8]) -> Result<[u8; FOOTER_BYTES]> {
    let length = u32::try_from(index.len()).ok().filter(|length| *length <= INDEX_BYTES_MAX);
    let length = length.ok_or_else(|| Error::internal("the index of a snapshot file is too large"))?;
    let mut footer = [0; FOOTER_BYTES];
    footer[..8].copy_from_slice(&index_offset.to_le_bytes());
    footer[8..12].copy_from_slice(&length.to_le_bytes());
    footer[12..16].copy_from_slice(&crc32c::crc32c(index).to_le_bytes());
    footer[16..].copy_from_slice(&MAGIC);
    Ok(footer)
}

/// Where the index is: offset, length, checksum.
pub(super) struct Footer {
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) crc: u32,
}

impl Footer {
    pub(super) fn parse(path: &str, mut bytes: &[u8], file_bytes: u64) -> Result<Self> {
        use flott_core::Record;
        let short = |_| damaged(path, "the footer is too short");
        let footer = Self {
            offset: u64::decode(&mut bytes).map_err(short)?,
            length: u32::decode(&mut bytes).map_err(short)?,
            crc: u32::decode(&mut bytes).map_err(short)?,
        };
        if take(&mut bytes, 8).map_err(short)? != MAGIC {
            return Err(damaged(path, "it does not end as a snapshot file does; it was cut off or overwritten"));
        }
        let end = footer.offset.checked_add(u64::from(footer.length));
        let is_placed = end == file_bytes.checked_sub(FOOTER_BYTES as u64);
        if footer.length > INDEX_BYTES_MAX || !is_placed || footer.offset < HEADER_BYTES as u64 {
            return Err(damaged(path, "the footer points outside the file"));
        }
        Ok(footer)
    }
}

pub(super) fn parse_index(path: &str, bytes: &[u8], footer: &Footer) -> Result<Index> {
    if crc32c::crc32c(bytes) != footer.crc {
        return Err(damaged(path, "the checksum of its index is wrong"));
    }
    let index: Index =
        serde_json::from_slice(bytes).map_err(|error| damaged(path, &format!("its index is no index: {error}")))?;
    let is_inside = |entry: &GroupEntry| {
        entry.offset >= HEADER_BYTES as u64
            && entry.offset.checked_add(entry.bytes).is_some_and(|end| end <= footer.offset)
    };
    if !index.iter().flat_map(|section| &section.groups).all(is_inside) {
        return Err(damaged(path, "its index points outside its data"));
    }
    Ok(index)
}
