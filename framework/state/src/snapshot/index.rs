use flott_core::{
    KeyGroup, KeyGroupRange, OperatorUid,
    record::{DecodeError, Record, decode_length, encode_length, take},
    snapshot::Written,
    state::{StateDeclaration, StateKind},
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
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// The operator.
    pub operator: OperatorUid,
    /// The state's name within the operator.
    pub state: String,
    /// The description beside its entries, or the reason why this binary cannot read it.
    pub written: Result<Written, String>,
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

/// An index of the newest format, of sections with their declarations.
pub(super) fn encode_index(sections: &[(StateDeclaration, Section)]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_length(sections.len(), &mut out);
    for (declaration, section) in sections {
        let mut encoded = Vec::new();
        section.operator.as_str().to_owned().encode(&mut encoded);
        section.state.encode(&mut encoded);
        let declaration =
            serde_json::to_string(declaration).expect("a declaration has no maps with odd keys");
        declaration.encode(&mut encoded);
        let group = |entry: &GroupEntry| -> EncodedGroup {
            (entry.group.0, entry.entries, entry.offset, entry.length, entry.crc32c)
        };
        section.groups.iter().map(group).collect::<Vec<_>>().encode(&mut encoded);
        encode_length(encoded.len(), &mut out);
        out.append(&mut encoded);
    }
    out
}

/// Reads an index of a format whose groups must lie between the header and `body_end`.
pub(super) fn decode_index(
    format: u32,
    mut input: &[u8],
    body_end: u64,
) -> Result<Vec<Section>, DecodeError> {
    let count = decode_length(&mut input)?;
    let mut sections = Vec::new();
    for _ in 0..count {
        sections.push(if format == FORMAT.oldest {
            decode_section(&mut input, body_end, entries)?
        } else {
            let length = decode_length(&mut input)?;
            decode_section(&mut take(&mut input, length)?, body_end, declared)?
        });
    }
    if format == FORMAT.oldest && !input.is_empty() {
        return Err(DecodeError::Invalid("bytes follow the last section"));
    }
    Ok(sections)
}

fn decode_section(
    input: &mut &[u8],
    body_end: u64,
    describe: fn(&str, &str) -> Result<Result<Written, String>, DecodeError>,
) -> Result<Section, DecodeError> {
    let operator = OperatorUid::new(String::decode(input)?).map_err(DecodeError::Malformed)?;
    let state = String::decode(input)?;
    let written = describe(&state, &String::decode(input)?)?;
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
    Ok(Section { operator, state, written, groups })
}

/// The description of a state in format 1.
fn entries(state: &str, json: &str) -> Result<Result<Written, String>, DecodeError> {
    let malformed = |error| DecodeError::Malformed(format!("the schema of state {state:?}: {error}"));
    serde_json::from_str(json).map(Written::Entries).map(Ok).map_err(malformed)
}

/// The description of a state in format 2. It is under a checksum: one that cannot be read is of a later version.
fn declared(state: &str, json: &str) -> Result<Result<Written, String>, DecodeError> {
    Ok(match serde_json::from_str::<StateDeclaration>(json) {
        Ok(StateDeclaration { kind: StateKind::Unknown(kind), .. }) => {
            Err(format!("this binary does not know the kind `{kind}`"))
        }
        Ok(declaration) if declaration.name != state => {
            return Err(DecodeError::Malformed(format!("state {state:?} is declared by another name")));
        }
        Ok(declaration) => Ok(Written::Declared(declaration)),
        Err(error) => Err(format!("this binary cannot read its declaration: {error}")),
    })
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

    fn section(groups: &[(u16, u64, u64)]) -> (StateDeclaration, Section) {
        let entry = |&(group, offset, length)| GroupEntry {
            group: KeyGroup(group),
            entries: 1,
            offset,
            length,
            crc32c: 7,
        };
        let declaration = StateDeclaration::value::<u64, u64>("sum");
        let section = Section {
            operator: OperatorUid::new("totals").unwrap(),
            state: "sum".into(),
            written: Ok(Written::Declared(declaration.clone())),
            groups: groups.iter().map(entry).collect(),
        };
        (declaration, section)
    }

    #[test]
    fn an_index_survives_a_round_trip_and_no_prefix_decodes() {
        let sections = [section(&[(3, 16, 4), (9, 20, 1)]), section(&[])];
        let bytes = encode_index(&sections);
        assert_eq!(decode_index(2, &bytes, 21).unwrap(), sections.map(|(_, section)| section));
        for cut in 0..bytes.len() {
            assert!(decode_index(2, &bytes[..cut], 21).is_err());
        }
    }

    /// The index of one section that a later version may have written.
    fn later(declaration: &str, appended: &[u8]) -> Vec<u8> {
        let mut section = Vec::new();
        ["totals", "sum", declaration].iter().for_each(|text| (*text).to_owned().encode(&mut section));
        Vec::<EncodedGroup>::new().encode(&mut section);
        section.extend_from_slice(appended);
        let mut out = Vec::new();
        encode_length(1, &mut out);
        encode_length(section.len(), &mut out);
        [&out[..], &section, appended].concat()
    }

    #[test]
    fn what_a_later_version_appends_is_skipped() {
        let (declaration, section) = section(&[]);
        let json = serde_json::to_string(&declaration).unwrap().replacen('{', "{\"later\":[{}],", 1);
        assert_eq!(decode_index(2, &later(&json, &[1, 2, 3]), 16).unwrap(), [section]);
    }

    #[test]
    fn a_state_of_a_later_version_is_no_damage() {
        for (json, why) in [
            (r#"{"name":"sum","kind":"channel","schema":{"Primitive":"u8"}}"#, "the kind `channel`"),
            (r#"{"name":"sum","kind":"value","schema":{"Set":"u8"}}"#, "cannot read its declaration"),
        ] {
            let sections = decode_index(2, &later(json, &[]), 16).unwrap();
            assert!(sections[0].written.as_ref().unwrap_err().contains(why), "{:?}", sections[0].written);
        }
        let other = r#"{"name":"count","kind":"value","schema":{"Primitive":"u8"}}"#;
        assert!(decode_index(2, &later(other, &[]), 16).is_err());
    }

    #[test]
    fn groups_must_lie_in_the_body_in_order_and_without_gaps() {
        let refused =
            |groups: &[(u16, u64, u64)]| decode_index(2, &encode_index(&[section(groups)]), 100).is_err();
        assert!(!refused(&[(1, 16, 84)]));
        assert!(refused(&[(1, 16, 85)]));
        assert!(refused(&[(1, 15, 2)]));
        assert!(refused(&[(1, 16, u64::MAX)]));
        assert!(refused(&[(1, 16, 4), (2, 21, 4)]));
        assert!(refused(&[(2, 16, 4), (2, 20, 4)]));
    }

    #[test]
    fn a_range_of_groups_is_found() {
        let (_, section) = section(&[(3, 16, 4), (9, 20, 1), (10, 21, 1)]);
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
