//! Identifies this binary: two processes of one job must run the same.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use flott_core::{ErrorKind, Result, ResultExt, hash};

/// Bytes that are hashed at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// More program headers, and more bytes of notes, than any binary has.
const PROGRAM_HEADERS_MAX: usize = 1024;
const NOTES_BYTES_MAX: u64 = 1 << 20;

/// A linker's id that is shorter was not made from the content.
const LINKER_ID_BYTES_MIN: usize = 8;

/// The id of this binary.
///
/// # Errors
/// When its file cannot be read.
pub(super) fn build_id() -> Result<String> {
    let context = "cannot read this binary to identify it";
    let path = std::env::current_exe().or_error(ErrorKind::Internal, context)?;
    let file = File::open(&path).or_error(ErrorKind::Internal, context)?;
    id_of(file).or_error(ErrorKind::Internal, context)
}

/// Made of the length and of the id that the linker has made from all of the content, if there is one. That id is read without
/// reading the file, which may have more than a hundred megabytes.
fn id_of(mut file: impl Read + Seek) -> io::Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    let content = match linker_id(&mut file) {
        Ok(Some(id)) => hash::bytes(&id),
        // A file that is no complete ELF file has no such id, and is hashed.
        _ => content_hash(&mut file)?,
    };
    Ok(format!("{:016x}", hash::word(content ^ length)))
}

/// A hash of every byte.
fn content_hash(file: &mut (impl Read + Seek)) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let (mut state, mut chunk) = (0, Vec::new());
    loop {
        chunk.clear();
        if file.by_ref().take(CHUNK_BYTES).read_to_end(&mut chunk)? == 0 {
            return Ok(state);
        }
        state = hash::word(state ^ hash::bytes(&chunk));
    }
}

/// The GNU build id in the notes of an ELF file (64 bit, little-endian).
fn linker_id(file: &mut (impl Read + Seek)) -> io::Result<Option<Vec<u8>>> {
    const LOADER_NOTES: u32 = 4;
    let header = read_at(file, 0, 64)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(None);
    }
    let (offset, size) = (u64_at(&header, 32), usize::from(u16_at(&header, 54)));
    let count = usize::from(u16_at(&header, 56));
    if size < 56 || count > PROGRAM_HEADERS_MAX {
        return Ok(None);
    }
    let headers = read_at(file, offset, (size * count) as u64)?;
    for header in headers.chunks_exact(size).filter(|header| u32_at(header, 0) == LOADER_NOTES) {
        let (offset, length, align) = (u64_at(header, 8), u64_at(header, 32), u64_at(header, 48));
        if length <= NOTES_BYTES_MAX {
            let notes = read_at(file, offset, length)?;
            if let Some(id) = gnu_build_id(&notes, if align == 8 { 8 } else { 4 }) {
                return Ok(Some(id.to_vec()));
            }
        }
    }
    Ok(None)
}

fn gnu_build_id(mut notes: &[u8], align: usize) -> Option<&[u8]> {
    const BUILD_ID: u32 = 3;
    while notes.len() >= 12 {
        let (name_length, length) = (u32_at(notes, 0) as usize, u32_at(notes, 4) as usize);
        let begin = 12_usize.checked_add(name_length)?.checked_next_multiple_of(align)?;
        let end = begin.checked_add(length)?;
        let name = notes.get(12..12_usize.checked_add(name_length)?)?;
        let content = notes.get(begin..end)?;
        if u32_at(notes, 8) == BUILD_ID && name == b"GNU\0" {
            return Some(content).filter(|id| id.len() >= LINKER_ID_BYTES_MIN);
        }
        notes = notes.get(end.checked_next_multiple_of(align)?..).unwrap_or_default();
    }
    None
}

fn read_at(file: &mut (impl Read + Seek), offset: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn id(bytes: &[u8]) -> String {
        id_of(Cursor::new(bytes)).unwrap()
    }

    /// An ELF file with one segment of notes, and then some content.
    fn elf(notes: &[u8], content: &[u8]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01".to_vec();
        file.resize(64 + 56, 0);
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        let segment = &mut file[64..];
        segment[0] = 4;
        segment[8] = 120;
        segment[32..40].copy_from_slice(&(notes.len() as u64).to_le_bytes());
        segment[48] = 4;
        [&file[..], notes, content].concat()
    }

    fn note(kind: u8, name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut note = [4, 0, 0, 0, content.len() as u8, 0, 0, 0, kind, 0, 0, 0].to_vec();
        note.extend(name);
        note.extend(content);
        note.resize(note.len().next_multiple_of(4), 0);
        note
    }

    #[test]
    fn two_binaries_that_differ_in_one_byte_have_different_ids() {
        // As large as a binary of which only a sample of blocks used to be read, and of no linker's id.
        let mut binary = elf(&note(1, b"GNU\0", &[7; 16]), &vec![0x90; 20 << 20]);
        let before = id(&binary);
        assert_eq!(id(&binary), before);
        for at in [130, binary.len() / 2, binary.len() / 2 + 100_000, binary.len() - 1] {
            binary[at] ^= 1;
            assert_ne!(id(&binary), before, "byte {at}");
            binary[at] ^= 1;
        }
        binary.push(0x90);
        assert_ne!(id(&binary), before);
    }

    #[test]
    fn the_linkers_id_is_used_where_there_is_one() {
        let notes = |id: u8| [note(1, b"GNU\0", &[1; 5]), note(3, b"GNU\0", &[id; 20])].concat();
        assert_eq!(id(&elf(&notes(1), b"content")), id(&elf(&notes(1), b"CONTENT")), "nothing else is read");
        assert_ne!(id(&elf(&notes(1), b"content")), id(&elf(&notes(1), b"another length")));
        assert_ne!(id(&elf(&notes(1), b"content")), id(&elf(&notes(2), b"content")));
        let short = |content| id(&elf(&note(3, b"GNU\0", &[1; 4]), content));
        assert_ne!(short(b"content"), short(b"another"), "an id that somebody made up");
        let foreign = |content| id(&elf(&note(3, b"Goo\0", &[1; 20]), content));
        assert_ne!(foreign(b"content"), foreign(b"another"));
    }

    #[test]
    fn damaged_headers_are_hashed_and_never_panic() {
        let binary = elf(&note(3, b"GNU\0", &[9; 20]), b"content");
        for cut in 0..binary.len() {
            id(&binary[..cut]);
        }
        for at in 0..binary.len() {
            for byte in [0, 0x7F, 0xFF] {
                let mut damaged = binary.clone();
                damaged[at] = byte;
                id(&damaged);
            }
        }
    }

    #[test]
    fn this_binary_has_an_id() {
        assert_eq!(build_id().unwrap(), build_id().unwrap());
    }
}
