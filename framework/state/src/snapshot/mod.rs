//! The snapshot file: the keyed state of one subtask, all operators of its chain. Independent of the backend.
//!
//! All numbers are little-endian; checksums are CRC-32C. Strings are a `u32` length and UTF-8.
//!
//! ```text
//! file    = header  body  index  footer
//! header  = "FLOTTSNP"  format: u32 (2)  checksum of the 12 bytes before: u32
//! body    = the key groups' bytes, one after the other, as the index says
//! index   = sections: u32, then per section (one per keyed state):
//!             length: u32, of the rest of the section
//!             operator uid: string   state name: string   declaration: string (JSON)
//!             groups: u32, then per group, ascending:
//!               group: u16   entries: u64   offset: u64 (from the start of the file)   length: u64   checksum: u32
//!             what a later version appends to a section
//!           what a later version appends to the index
//! footer  = index offset: u64   index length: u64   checksum of the index: u32
//!           checksum of the 20 bytes before: u32   "FLOTTEND"
//! ```
//!
//! The groups of a section lie in the body in the order of the index, without gaps, so a restore with another
//! parallelism reads the groups it needs with few range reads. Every byte is under a checksum. A reader skips what is appended and
//! ignores fields of a declaration that it does not know; a state whose declaration it does not understand is refused by
//! its name, where it is restored.
//!
//! Sections of format 1 have no length, and the schema of the entries in place of a declaration. `tests/golden` has files of
//! both formats; the rule for changes is that of [`flott_core::format`].

mod encoder;
mod index;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

use flott_core::format::Format;

pub use index::{GroupEntry, Section};
pub use reader::SnapshotReader;
pub use writer::SnapshotWriter;

const MAGIC: &[u8; 8] = b"FLOTTSNP";
const END_MAGIC: &[u8; 8] = b"FLOTTEND";
const FORMAT: Format = Format { name: "snapshot file", oldest: 1, newest: 2 };
const HEADER_BYTES: u64 = 16;
const FOOTER_BYTES: u64 = 32;
