//! The codec of records, keys and state: fixed little-endian, derived, with a schema that says what was written.
//!
//! Integers and floats are little-endian, `bool` one byte, `String` and `Vec` a `u32` length and their content,
//! `Option` one byte and the value, structs and tuples their fields in order. A value without content takes one byte, a
//! zero, in a `Vec`, so that the input bounds the work. Foreign types come in through `#[record(serde)]`, in the
//! self-describing encoding of [`foreign`].

mod bytes;
mod codec;
mod containers;
mod error;
pub mod foreign;
mod primitives;
mod schema;

#[cfg(test)]
mod tests;

pub use bytes::{decode_length, encode_length, fixed_size_of, fixed_sum, take};
pub use codec::{Key, Record, decode_all, encode_all};
pub use error::DecodeError;
pub use foreign::{ForeignCheck, Unreadable, decode_foreign, encode_foreign, foreign_name};
pub use schema::{SCHEMA_DEPTH_MAX, Schema};
