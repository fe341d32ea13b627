//! JSON documents with a checksum and a format number.

use bytes::Bytes;
use flott_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

const HEAD: &str = "{\"crc32c\":\"";
const MIDDLE: &str = "\",\"body\":";
const TAIL: &str = "}\n";

/// A document: its first field is `format`.
pub(super) trait Document: Serialize + DeserializeOwned {
    /// The format that this binary writes and reads.
    const FORMAT: u32;
    /// What it is, for people.
    const WHAT: &'static str;
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// `{"crc32c":"…","body":…}`: valid JSON, and the checksum is over the very bytes of the body.
pub(super) fn seal<D: Document>(document: &D) -> Bytes {
    let body = serde_json::to_string(document).expect("documents have only strings and numbers as keys");
    let crc32c = crc32c::crc32c(body.as_bytes());
    format!("{HEAD}{crc32c:08x}{MIDDLE}{body}{TAIL}").into()
}

/// Reads what [`seal`] wrote; `path` is for the error.
pub(super) fn unseal<D: Document>(path: &str, bytes: &[u8]) -> Result<D> {
    let refused = |why: String| {
        Error::new(ErrorKind::State, format!("{} {path} cannot be used: {why}", D::WHAT))
    };
    let parts = std::str::from_utf8(bytes).ok().and_then(|text| {
        let (checksum, rest) = text.strip_prefix(HEAD)?.split_at_checked(8)?;
        Some((checksum, rest.strip_prefix(MIDDLE)?.strip_suffix(TAIL)?))
    });
    let (checksum, body) = parts.ok_or_else(|| refused("it is cut off or not one at all".into()))?;
    if checksum != format!("{:08x}", crc32c::crc32c(body.as_bytes())) {
        return Err(refused("its checksum is wrong, so it is damaged".into()));
    }
    let Format { format } = serde_json::from_str(body).map_err(|error| refused(error.to_string()))?;
    if format != D::FORMAT {
        return Err(refused(format!("it has format {format}, this binary reads format {}", D::FORMAT)));
    }
    serde_json::from_str(body).map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Note {
        format: u32,
        text: String,
    }

    impl Document for Note {
        const FORMAT: u32 = 3;
        const WHAT: &'static str = "note";
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let note = Note { format: 3, text: "x".into() };
        let bytes = seal(&note);
        assert_eq!(unseal::<Note>("n", &bytes).unwrap(), note);
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert_eq!(unseal::<Note>("n", &changed).unwrap_err().kind(), ErrorKind::State);
            assert!(unseal::<Note>("n", &bytes[..at]).is_err());
        }
    }

    #[test]
    fn a_later_format_says_so() {
        let error = unseal::<Note>("n", &seal(&Note { format: 4, text: "x".into() })).unwrap_err();
        assert_eq!(error.to_string(), "note n cannot be used: it has format 4, this binary reads format 3");
    }
}
