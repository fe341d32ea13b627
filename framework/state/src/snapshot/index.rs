use flott_core::{
    KeyGroup, KeyGroupRange, OperatorUid, Schema,
    record::{DecodeError, Record, decode_length, encode_length},
};

use super::{END_MAGIC, FOOTER_BYTES, FORMAT, HEADER_BYTES, MAGIC};

/// Where one key group of a state is, and how much it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupEntry {
    /// The group.
    pub group: KeyGroup,
    /// Its number of entries.
    pub entries: u64,
    /// Its first byte in the file.
    pub offset: u64,
    /// Its number of bytes.
    pub length: u64,
    /// CRC-32C of its bytes.
    pub crc32c: u32,
}

/// One keyed state in a snapshot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The operator.
    pub operator: OperatorUid,
    /// The state's name within the operator.
    pub state: String,
    /// What its entries look like.
    pub schema: Schema,
    /// Its key groups, ascending; empty ones are left out.
    pub groups: Vec<GroupEntry>,
}

impl Section {
    /// The entries of a range of key groups, which lie side by side in the file.
    #[must_use]
    pub fn within(&self, range: KeyGroupRange) -> &[GroupEntry] {
        let first_at_or_after =
            |bound: u32| self.groups.partition_point(|entry| u32::from(entry.group.0) < bound);
        &self.groups[first_at_or_after(range.start)..first_at_or_after(range.end)]
    }
}

type EncodedGroup = (u16, u64, u64, u64, u32);

pub(super) fn encode_index(sections: &[Section]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_length(sections.len(), &mut out);
    for section in sections {
        section.operator.as_str().to_owned().encode(&mut out);
        section.state.encode(&mut out);
        let schema = serde_json::to_string(&section.schema).expect("a schema has no maps with odd keys");
        schema.encode(&mut out);
        let encoded = |entry: &GroupEntry| -> EncodedGroup {
            (entry.group.0, entry.entries, entry.offset, entry.length, entry.crc32c)
        };
        section.groups.iter().map(encoded).collect::<Vec<_>>().encode(&mut out);
    }
    out
}

/// Reads an index whose groups must lie between the header and `body_end`.
pub(super) fn decode_index(mut input: &[u8], body_end: u64) -> Result<Vec<Section>, DecodeError> {
    let count = decode_length(&mut input)?;
    let mut sections = Vec::new();
    for _ in 0..count {
        sections.push(decode_section(&mut input, body_end)?);
    }
    if input.is_empty() { Ok(sections) } else { Err(DecodeError::Invalid("bytes follow the last section")) }
}

fn decode_section(input: &mut &[u8], body_end: u64) -> Result<Section, DecodeError> {
    let operator = OperatorUid::new(String::decode(input)?).map_err(DecodeError::Malformed)?;
    let state = String::decode(input)?;
    let schema = serde_json::from_str(&String::decode(input)?);
    let schema =
        schema.map_err(|error| DecodeError::Malformed(format!("the schema of state {state:?}: {error}")))?;
    let mut groups = Vec::<GroupEntry>::new();
    for (group, entries, offset, length, crc32c) in Vec::<EncodedGroup>::decode(input)? {
        let expected = groups.last().map(|last| last.offset + last.length);
        let end = offset.checked_add(length);
        let is_in_body = offset >= HEADER_BYTES && end.is_some_and(|end| end <= body_end);
        if !is_in_body || expected.is_some_and(|expected| expected != offset) {
            return Err(DecodeError::Invalid("a key group does not lie where it can"));
        }
        if groups.last().is_some_and(|last| last.group.0 >= group) {
            return Err(DecodeError::Invalid("key groups are not in order"));
        }
        groups.push(GroupEntry { group: KeyGroup(group), entries, offset, length, crc32c });
    }
    Ok(Section { operator, state, schema, groups })
}

pub(super) fn encode_header() -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    FORMAT.newest.encode(&mut out);
    crc32c::crc32c(&out).encode(&mut out);
    out
}

/// The format number in the first bytes of a file, or why they are not those of a snapshot.
pub(super) fn decode_header(header: &[u8]) -> Result<u32, String> {
    let (head, checksum) = header.split_at_checked(12).ok_or("the header is cut off")?;
    let (magic, format) = head.split_at(8);
    if magic != MAGIC {
        return Err("it does not begin like a snapshot".into());
    }
    if checksum != crc32c::crc32c(head).to_le_bytes() {
        return Err("the checksum of the header is wrong".into());
    }
    u32::decode_fixed(format).map_err(|error| error.to_string())
}

/// Where the index is, and its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) index_offset: u64,
    pub(super) index_length: u64,
    pub(super) index_crc32c: u32,
}

impl Footer {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        (self.index_offset, self.index_length, self.index_crc32c).encode(&mut out);
        crc32c::crc32c(&out).encode(&mut out);
        out.extend_from_slice(END_MAGIC);
        out
    }

    /// Reads the footer of a file of `size` bytes; the index fills what is between the body and the footer.
    pub(super) fn decode(footer: &[u8], size: u64) -> Result<Self, String> {
        let (head, rest) = footer.split_at_checked(20).ok_or("the footer is cut off")?;
        let (checksum, magic) = rest.split_at_checked(4).ok_or("the footer is cut off")?;
        if magic != END_MAGIC {
            return Err("it does not end like a snapshot: it was cut off or is not one".into());
        }
        if checksum != crc32c::crc32c(head).to_le_bytes() {
            return Err("the checksum of the footer is wrong".into());
        }
        let (index_offset, index_length, index_crc32c) =
            <(u64, u64, u32)>::decode_fixed(head).map_err(|error| error.to_string())?;
        let end = index_offset.checked_add(index_length).and_then(|end| end.checked_add(FOOTER_BYTES));
        if index_offset < HEADER_BYTES || end != Some(size) {
            return Err("the index does not lie where it can".into());
        }
        Ok(Self { index_offset, index_length, index_crc32c })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(groups: &[(u16, u64, u64)]) -> Section {
        let entry = |&(group, offset, length)| GroupEntry {
            group: KeyGroup(group),
            entries: 1,
            offset,
            length,
            crc32c: 7,
        };
        Section {
            operator: OperatorUid::new("totals").unwrap(),
            state: "sum".into(),
            schema: Schema::primitive("u64"),
            groups: groups.iter().map(entry).collect(),
        }
    }

    #[test]
    fn an_index_survives_a_round_trip_and_no_prefix_decodes() {
        let sections = [section(&[(3, 16, 4), (9, 20, 1)]), section(&[])];
        let bytes = encode_index(&sections);
        assert_eq!(decode_index(&bytes, 21).unwrap(), sections);
        for cut in 0..bytes.len() {
            assert!(decode_index(&bytes[..cut], 21).is_err());
        }
    }

    #[test]
    fn groups_must_lie_in_the_body_in_order_and_without_gaps() {
        let refused =
            |groups: &[(u16, u64, u64)]| decode_index(&encode_index(&[section(groups)]), 100).is_err();
        assert!(!refused(&[(1, 16, 84)]));
        assert!(refused(&[(1, 16, 85)]));
        assert!(refused(&[(1, 15, 2)]));
        assert!(refused(&[(1, 16, u64::MAX)]));
        assert!(refused(&[(1, 16, 4), (2, 21, 4)]));
        assert!(refused(&[(2, 16, 4), (2, 20, 4)]));
    }

    #[test]
    fn a_range_of_groups_is_found() {
        let section = section(&[(3, 16, 4), (9, 20, 1), (10, 21, 1)]);
        let within = |start, end| section.within(KeyGroupRange { start, end }).len();
        assert_eq!([within(0, 3), within(3, 10), within(4, 11), within(0, 1024)], [0, 2, 2, 3]);
    }

    #[test]
    fn any_changed_byte_of_header_and_footer_is_noticed() {
        let footer = Footer { index_offset: 16, index_length: 52, index_crc32c: 9 };
        assert_eq!(Footer::decode(&footer.encode(), 100), Ok(footer));
        assert!(Footer::decode(&footer.encode(), 101).is_err());
        decode_header(&encode_header()).unwrap();
        for at in 0..32 {
            let mut changed = footer.encode();
            changed[at] ^= 1;
            assert!(Footer::decode(&changed, 100).is_err(), "footer byte {at}");
            if let Some(at) = Some(at).filter(|at| *at < 16) {
                let mut changed = encode_header();
                changed[at] ^= 1;
                assert!(decode_header(&changed).is_err(), "header byte {at}");
            }
        }
    }
}
