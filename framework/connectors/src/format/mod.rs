//! Record formats: how a record becomes bytes outside, and bytes become a record.
//!
//! Formats know nothing of connectors. Encoding appends to a buffer that the caller reuses, so that a record costs no
//! allocation.

mod json;
mod raw;
mod text;

use flott_core::Result;

pub use json::Json;
pub use raw::Raw;
pub use text::Utf8;

/// Reads records from bytes.
pub trait DecodeFormat<T>: Send + Sync + 'static {
    /// Reads one record.
    ///
    /// # Errors
    /// When the bytes are not a record; what happens then is the source's policy.
    fn decode(&self, bytes: &[u8]) -> Result<T>;
}

/// Writes records as bytes.
pub trait EncodeFormat<T>: Send + Sync + 'static {
    /// Appends one record to `out`.
    ///
    /// # Errors
    /// When the record cannot be expressed; `out` may then hold a part of it.
    fn encode(&self, record: &T, out: &mut Vec<u8>) -> Result<()>;
}
