//! Formats of data that outlives the process that wrote it: journal, manifest, splits, committables.
//!
//! The rule for all of them:
//!
//! 1. The data begins with a *format* number, and a reader looks at it before anything else. A reader refuses a format
//!    newer than its newest and says so; it never calls such data damaged.
//! 2. Within a format, a later version of Flott may only *append* fields: new keys in JSON, new bytes behind the last
//!    field of the outermost struct in a binary encoding. A reader ignores keys and trailing bytes that it does not know,
//!    and takes the default of a field that is not there.
//! 3. A change that an older reader must not ignore gets a new format number. So does a field whose loss does harm:
//!    an older version that continues a job writes the journal again without the fields it does not know.
//! 4. Each format has golden files in the tests of its crate. They are read by tests for ever and never rewritten.
//!
//! Damage is found by the checksums around the data (journal entry, manifest, snapshot index), not by its length.

use crate::{
    error::{Error, ErrorKind, Result},
    record::{DecodeError, Record},
};

/// The format numbers of one kind of data that this binary reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Name of the file or message that has this format, for people: `manifest`.
    pub name: &'static str,
    /// The oldest number that is read.
    pub oldest: u32,
    /// The newest number that is read, and the one that is written.
    pub newest: u32,
}

impl Format {
    /// A format of which only the first number exists.
    #[must_use]
    pub const fn first(name: &'static str) -> Self {
        Self { name, oldest: 1, newest: 1 }
    }

    /// Makes sure that this binary reads data with the number `found`.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when it does not: the message says whether a newer or an older version of Flott wrote it.
    pub fn check(self, found: u32) -> Result<()> {
        let Self { name, oldest, newest } = self;
        let message = if found > newest {
            format!(
                "{name}: written by a newer Flott: format {found}, this binary reads up to {newest}; run the newer binary"
            )
        } else if found < oldest {
            format!("{name}: format {found} is not known; this binary reads formats {oldest} to {newest}")
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::State, message))
    }
}

/// Decodes a field that a later version appended: the default when the encoding ends before it.
///
/// # Errors
/// When the encoding ends within the field, or the field is invalid.
pub fn appended<T: Record + Default>(input: &mut &[u8]) -> Result<T, DecodeError> {
    if input.is_empty() { Ok(T::default()) } else { T::decode(input) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Format = Format { name: "thing", oldest: 2, newest: 3 };

    #[test]
    fn newer_and_unknown_formats_are_told_apart() {
        assert!(SECOND.check(2).is_ok() && SECOND.check(3).is_ok());
        let newer = SECOND.check(4).unwrap_err();
        assert_eq!(newer.kind(), ErrorKind::State);
        let expected =
            "thing: written by a newer Flott: format 4, this binary reads up to 3; run the newer binary";
        assert_eq!(newer.to_string(), expected);
        let unknown = SECOND.check(1).unwrap_err().to_string();
        assert_eq!(unknown, "thing: format 1 is not known; this binary reads formats 2 to 3");
    }

    #[test]
    fn an_appended_field_has_a_default_but_half_a_field_is_damage() {
        let bytes = 7_u32.to_le_bytes();
        assert_eq!(appended::<u32>(&mut &bytes[..]).unwrap(), 7);
        assert_eq!(appended::<u32>(&mut &bytes[..0]).unwrap(), 0);
        assert!(appended::<u32>(&mut &bytes[..3]).is_err());
    }
}
