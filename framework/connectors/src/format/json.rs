use flott_core::{Result, ResultExt};
use serde::{Serialize, de::DeserializeOwned};

use super::{DecodeFormat, EncodeFormat};

/// JSON by serde, one value per record, without line breaks.
///
/// ```
/// use flott_connectors::format::{DecodeFormat, EncodeFormat, Json};
///
/// let mut bytes = Vec::new();
/// Json.encode(&(1u32, "a"), &mut bytes)?;
/// assert_eq!(bytes, br#"[1,"a"]"#);
/// let back: (u32, String) = Json.decode(&bytes)?;
/// assert_eq!(back.0, 1);
/// # Ok::<(), flott_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<T: DeserializeOwned> DecodeFormat<T> for Json {
    fn decode(&self, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).or_error(flott_core::ErrorKind::User, "not the expected JSON")
    }
}

impl<T: Serialize> EncodeFormat<T> for Json {
    fn encode(&self, record: &T, out: &mut Vec<u8>) -> Result<()> {
        serde_json::to_writer(out, record).or_error(flott_core::ErrorKind::User, "cannot write as JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_json_says_why() {
        let error = DecodeFormat::<u32>::decode(&Json, b"{").unwrap_err();
        assert!(error.to_string().contains("not the expected JSON: invalid type"), "{error}");
    }

    #[test]
    fn encoding_appends() {
        let mut out = b"x".to_vec();
        Json.encode(&vec![1u8, 2], &mut out).unwrap();
        assert_eq!(out, b"x[1,2]");
    }
}
