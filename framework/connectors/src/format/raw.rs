use flott_core::Result;

use super::{DecodeFormat, EncodeFormat};

/// The bytes as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl DecodeFormat<Vec<u8>> for Raw {
    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(bytes.to_vec())
    }
}

impl<T: AsRef<[u8]>> EncodeFormat<T> for Raw {
    fn encode(&self, record: &T, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(record.as_ref());
        Ok(())
    }
}
