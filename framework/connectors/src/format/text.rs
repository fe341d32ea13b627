use flott_core::{Error, Result};

use super::{DecodeFormat, EncodeFormat};

/// UTF-8 text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8;

impl DecodeFormat<String> for Utf8 {
    fn decode(&self, bytes: &[u8]) -> Result<String> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(Error::user(format!("not UTF-8 text: {error}"))),
        }
    }
}

impl<T: AsRef<str>> EncodeFormat<T> for Utf8 {
    fn encode(&self, record: &T, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(record.as_ref().as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_are_refused() {
        assert_eq!(Utf8.decode("Straße".as_bytes()).unwrap(), "Straße");
        assert!(Utf8.decode(&[0xff]).unwrap_err().to_string().contains("not UTF-8"));
    }
}
