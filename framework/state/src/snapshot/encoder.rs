use flott_core::{
    Error, KeyGroup, OperatorUid, Result,
    snapshot::{KeyedSnapshotSink, WriteKeyed, Written},
    state::StateDeclaration,
};

use super::{
    index::{Footer, GroupEntry, Section, encode_header, encode_index},
    writer::Parts,
};

/// Size of the parts in which a snapshot is uploaded: what is held in memory of it, times two or three.
pub(super) const PART_BYTES_MAX: usize = 8 << 20;

/// Encodes a snapshot file and hands it on in parts of equal size, but for the last.
pub(super) struct SnapshotEncoder<P> {
    part_bytes: usize,
    parts: P,
    part: Vec<u8>,
    offset: u64,
    sections: Vec<(StateDeclaration, Section)>,
}

impl<P: Parts> SnapshotEncoder<P> {
    /// Begins a file. `parts` gets its bytes, `part_bytes` at a time.
    ///
    /// # Errors
    /// Those of `parts`.
    pub(super) fn new(part_bytes: usize, parts: P) -> Result<Self> {
        let mut encoder =
            Self { part_bytes: part_bytes.max(1), parts, part: Vec::new(), offset: 0, sections: Vec::new() };
        encoder.put(&encode_header())?;
        Ok(encoder)
    }

    /// Writes one keyed state.
    ///
    /// # Errors
    /// Those of `write` and of the parts' receiver.
    pub(super) fn section(
        &mut self,
        operator: OperatorUid,
        declaration: StateDeclaration,
        write: WriteKeyed,
    ) -> Result<()> {
        let (state, written) = (declaration.name.clone(), Ok(Written::Declared(declaration.clone())));
        self.sections.push((declaration, Section { operator, state, written, groups: Vec::new() }));
        write(self)
    }

    /// Ends the file; returns its size.
    ///
    /// # Errors
    /// Those of the parts' receiver.
    pub(super) fn finish(mut self) -> Result<(u64, P)> {
        let index = encode_index(&self.sections);
        let index_crc32c = crc32c::crc32c(&index);
        let footer = Footer { index_offset: self.offset, index_length: index.len() as u64, index_crc32c };
        self.put(&index)?;
        self.put(&footer.encode())?;
        if !self.part.is_empty() {
            self.parts.part(std::mem::take(&mut self.part).into())?;
        }
        Ok((self.offset, self.parts))
    }

    /// Gives the file up; returns who got its parts.
    pub(super) fn into_parts(self) -> P {
        self.parts
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.offset += bytes.len() as u64;
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(self.part_bytes - self.part.len()));
            self.part.extend_from_slice(head);
            bytes = rest;
            if self.part.len() == self.part_bytes {
                self.parts.part(std::mem::take(&mut self.part).into())?;
            }
        }
        Ok(())
    }
}

impl<P: Parts> KeyedSnapshotSink for SnapshotEncoder<P> {
    fn key_group(&mut self, group: KeyGroup, entries: u64, bytes: &[u8]) -> Result<()> {
        let (offset, length) = (self.offset, bytes.len() as u64);
        let groups = self.sections.last_mut().map(|(_, section)| &mut section.groups);
        let groups = groups.ok_or_else(|| Error::internal("a key group outside of a section"))?;
        if groups.last().is_some_and(|last| last.group >= group) {
            return Err(Error::internal(format!("key group {} is not in order", group.0)));
        }
        groups.push(GroupEntry { group, entries, offset, length, crc32c: crc32c::crc32c(bytes) });
        self.put(bytes)
    }
}
