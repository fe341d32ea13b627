//! Encoding of foreign types, behind `#[record(serde)]`: a `u32` length and a self-describing encoding.
//!
//! A compact format such as postcard reads only what a type asks for in the order in which it was written. Many types
//! ask for less than they write: they leave out fields (`skip_serializing_if`), or take whatever comes
//! (`deserialize_any`: `serde_json::Value`, untagged enums, `rust_decimal::Decimal`). So each value begins with a tag
//! byte that says what serde wrote:
//!
//! ```text
//! 0 end   1 unit   2 none   3 some: value   4 false   5 true
//! 6 unsigned: varint   7 signed: zigzag varint   8 u128: 16 bytes   9 i128: 16 bytes   10 f32   11 f64
//! 12 char: varint   13 text: varint length, UTF-8   14 bytes: varint length, bytes
//! 15 sequence: values, end   16 map: keys and values in turn, end
//! ```
//!
//! A struct is a map from field names. A variant without content is the text of its name, any other one a map from its
//! name to its content. A newtype is what it wraps. The tag of a number depends on its type and not on its value, so
//! that a type which cannot be read back fails with its first value. Types are asked for their human-readable form:
//! serde's own buffers, behind `untagged` and `flatten`, read nothing else.
//!
//! Structs are read by field name: fields can be reordered, removed, and added with `#[serde(default)]`.
//!
//! Not everything can be read back: `serde_json`'s `RawValue` and `arbitrary_precision`, `i128` behind `flatten` or
//! `untagged`, and types whose `Deserialize` does not fit their `Serialize`. [`ForeignCheck`] finds these at their first
//! value.

mod check;
mod codec;
mod read;
mod same;
mod write;

#[cfg(test)]
mod tests;

pub use check::{ForeignCheck, Unreadable};
pub use codec::{decode_foreign, encode_foreign, foreign_name};

/// Values within values. More would need a stack that threads do not have; JSON parsers allow as much.
const DEPTH_MAX: usize = 128;

const END: u8 = 0;
const UNIT: u8 = 1;
const NONE: u8 = 2;
const SOME: u8 = 3;
const FALSE: u8 = 4;
const TRUE: u8 = 5;
const UNSIGNED: u8 = 6;
const SIGNED: u8 = 7;
const U128: u8 = 8;
const I128: u8 = 9;
const F32: u8 = 10;
const F64: u8 = 11;
const CHAR: u8 = 12;
const TEXT: u8 = 13;
const BYTES: u8 = 14;
const SEQUENCE: u8 = 15;
const MAP: u8 = 16;

/// The reason why a value cannot be written or read.
#[derive(Debug)]
struct ForeignError(String);

impl std::fmt::Display for ForeignError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ForeignError {}

impl serde::ser::Error for ForeignError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl serde::de::Error for ForeignError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// One level deeper.
fn deeper(depth: usize) -> Result<usize, ForeignError> {
    if depth < DEPTH_MAX {
        Ok(depth + 1)
    } else {
        Err(ForeignError(format!("values lie more than {DEPTH_MAX} levels deep within each other")))
    }
}
