//! The codec of records, keys and state: fixed little-endian, derived, with a schema that says what was written.
//!
//! Integers and floats are little-endian, `bool` one byte, `String` and `Vec` a `u32` length and their content,
//! `Option` one byte and the value, structs and tuples their fields in order. There is no generic fallback: foreign
//! types come in through `#[record(serde)]`, which stores them as postcard bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{hash, time::EventTime};

/// Values in a list whose encoding takes no bytes: the input does not bound their number.
const EMPTY_VALUES_MAX: usize = 1 << 16;

/// A key whose encoding always takes as many bytes, and not more than this, is hashed without an allocation.
const SMALL_BYTES_MAX: usize = 64;

/// Why bytes are not a valid encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ended inside a value.
    UnexpectedEnd,
    /// A value that its type does not have.
    Invalid(&'static str),
    /// A foreign type's own decoder refused.
    Foreign(String),
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnexpectedEnd => f.write_str("the encoding ends inside a value"),
            Self::Invalid(what) => write!(f, "invalid encoding: {what}"),
            Self::Foreign(why) => write!(f, "invalid encoding of a foreign type: {why}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// What an encoded type looks like. Stored in every snapshot, compared at restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    /// A built-in type, by its Rust name.
    Primitive(String),
    /// A struct or tuple: fields in encoding order.
    Struct(String, Vec<(String, Schema)>),
    /// An enum: variants by their number.
    Enum(String, Vec<(String, Schema)>),
    /// `Option`.
    Optional(Box<Schema>),
    /// `Vec`.
    List(Box<Schema>),
    /// `BTreeMap`.
    Map(Box<Schema>, Box<Schema>),
    /// A foreign type behind serde, by its Rust name.
    Foreign(String),
}

impl Schema {
    /// The schema of a built-in type.
    #[must_use]
    pub fn primitive(name: &str) -> Self {
        Self::Primitive(name.into())
    }

    /// A number that differs, with overwhelming probability, where two schemas differ. Names of types do not count,
    /// names and order of fields do.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut text = String::new();
        self.write_canonical(&mut text);
        hash::bytes(text.as_bytes())
    }

    fn write_canonical(&self, out: &mut String) {
        let list = |out: &mut String, open: &str, fields: &[(String, Schema)]| {
            out.push_str(open);
            for (name, schema) in fields {
                out.push_str(name);
                out.push(':');
                schema.write_canonical(out);
                out.push(',');
            }
            out.push('}');
        };
        match self {
            Self::Primitive(name) => out.push_str(name),
            Self::Struct(_, fields) => list(out, "struct{", fields),
            Self::Enum(_, variants) => list(out, "enum{", variants),
            Self::Optional(inner) => {
                out.push('?');
                inner.write_canonical(out);
            }
            Self::List(inner) => {
                out.push('*');
                inner.write_canonical(out);
            }
            Self::Map(key, value) => {
                out.push('%');
                key.write_canonical(out);
                out.push('=');
                value.write_canonical(out);
            }
            Self::Foreign(name) => {
                out.push('&');
                out.push_str(name);
            }
        }
    }
}

/// A type that can flow between operators and rest in state. Derive it.
///
/// `FIXED_SIZE` promises that every value takes exactly that many bytes; then the `_fixed` methods must be given,
/// and batches are encoded in one go.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a Record: it cannot be sent between tasks or kept in state",
    label = "not a Record",
    note = "add `#[derive(Record)]` to `{Self}`; for a type of another crate, wrap it in a field with `#[record(serde)]`"
)]
pub trait Record: Sized + Send + Sync + 'static {
    /// Encoded size in bytes where all values have the same.
    const FIXED_SIZE: Option<usize>;

    /// What the encoding looks like.
    fn schema() -> Schema;

    /// Appends the encoding.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads one value from the front of `input` and moves `input` past it.
    ///
    /// # Errors
    /// When the bytes are not a valid encoding. Never panics and never allocates more than the input justifies.
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError>;

    /// A copy of the value.
    #[must_use]
    fn duplicate(&self) -> Self;

    /// Writes the encoding into `out`, which has exactly [`Self::FIXED_SIZE`] bytes.
    fn encode_fixed(&self, out: &mut [u8]) {
        let mut bytes = Vec::with_capacity(out.len());
        self.encode(&mut bytes);
        out.copy_from_slice(&bytes);
    }

    /// Reads the encoding from `input`, which has exactly [`Self::FIXED_SIZE`] bytes.
    ///
    /// # Errors
    /// As [`Self::decode`].
    fn decode_fixed(mut input: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(&mut input)
    }

    /// When it happened, if the type has a field marked `#[record(event_time)]`.
    fn event_time(&self) -> Option<EventTime> {
        None
    }

    /// The frozen hash that assigns keys to key groups: equal values hash equally in all versions and on all
    /// machines.
    fn key_hash(&self) -> u64 {
        let mut buffer = [0; SMALL_BYTES_MAX];
        if let Some(bytes) = Self::FIXED_SIZE.and_then(|size| buffer.get_mut(..size)) {
            self.encode_fixed(bytes);
            return hash::bytes(bytes);
        }
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        hash::bytes(&bytes)
    }
}

/// A record that can be a key: it is compared, ordered and hashed.
///
/// Implemented for every [`Record`] that is `Eq + Ord`.
pub trait Key: Record + Eq + Ord {}
impl<T: Record + Eq + Ord> Key for T {}

/// Appends the encodings of all `records`.
pub fn encode_all<T: Record>(records: &[T], out: &mut Vec<u8>) {
    match T::FIXED_SIZE {
        Some(size) if size > 0 => {
            let start = out.len();
            out.resize(start + records.len() * size, 0);
            for (record, chunk) in records.iter().zip(out[start..].chunks_exact_mut(size)) {
                record.encode_fixed(chunk);
            }
        }
        _ => records.iter().for_each(|record| record.encode(out)),
    }
}

/// Reads `count` values from the front of `input` onto the end of `records`.
///
/// # Errors
/// When the bytes are not `count` valid encodings.
pub fn decode_all<T: Record>(
    input: &mut &[u8],
    count: usize,
    records: &mut Vec<T>,
) -> Result<(), DecodeError> {
    match T::FIXED_SIZE {
        Some(size) if size > 0 => {
            let bytes = count.checked_mul(size).ok_or(DecodeError::UnexpectedEnd)?;
            let encoded = take(input, bytes)?;
            records.reserve(count);
            for chunk in encoded.chunks_exact(size) {
                records.push(T::decode_fixed(chunk)?);
            }
        }
        _ => {
            records.reserve(count.min(input.len()));
            for _ in 0..count {
                records.push(T::decode(input)?);
            }
        }
    }
    Ok(())
}

/// Splits `count` bytes off the front of `input`.
///
/// # Errors
/// When there are fewer.
pub fn take<'a>(input: &mut &'a [u8], count: usize) -> Result<&'a [u8], DecodeError> {
    let (head, rest) = input.split_at_checked(count).ok_or(DecodeError::UnexpectedEnd)?;
    *input = rest;
    Ok(head)
}

/// Sum of field sizes, known if all are.
#[must_use]
pub const fn fixed_sum(sizes: &[Option<usize>]) -> Option<usize> {
    let mut sum = 0;
    let mut i = 0;
    while i < sizes.len() {
        match sizes[i] {
            Some(size) => sum += size,
            None => return None,
        }
        i += 1;
    }
    Some(sum)
}

/// Size of a type whose fixed size is known.
///
/// # Panics
/// At compile time in practice: when the type has no fixed size.
#[must_use]
pub const fn fixed_size_of<T: Record>() -> usize {
    T::FIXED_SIZE.expect("a type of fixed size")
}

/// Encodes a foreign type through serde.
pub fn encode_foreign<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let bytes = postcard::to_stdvec(value).expect("postcard encodes every serde value into a Vec");
    encode_length(bytes.len(), out);
    out.extend_from_slice(&bytes);
}

/// Decodes what [`encode_foreign`] wrote.
///
/// # Errors
/// When the bytes are not such an encoding.
pub fn decode_foreign<T: DeserializeOwned>(input: &mut &[u8]) -> Result<T, DecodeError> {
    let length = decode_length(input)?;
    postcard::from_bytes(take(input, length)?).map_err(|error| DecodeError::Foreign(error.to_string()))
}

/// Appends a length.
///
/// # Panics
/// When a single value is 4 GiB or longer.
pub fn encode_length(length: usize, out: &mut Vec<u8>) {
    let length = u32::try_from(length).expect("one value is shorter than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
}

/// Reads a length that cannot exceed what is left of the input.
///
/// # Errors
/// When the input is shorter than the length says.
pub fn decode_length(input: &mut &[u8]) -> Result<usize, DecodeError> {
    let length = u32::decode(input)? as usize;
    if length > input.len() { Err(DecodeError::UnexpectedEnd) } else { Ok(length) }
}

macro_rules! number {
    ($($type:ty => |$value:ident| $hash:expr),* $(,)?) => { $(
        impl Record for $type {
            const FIXED_SIZE: Option<usize> = Some(size_of::<$type>());
            fn schema() -> Schema { Schema::primitive(stringify!($type)) }
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) { out.extend_from_slice(&self.to_le_bytes()); }
            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                let (head, rest) = input.split_first_chunk().ok_or(DecodeError::UnexpectedEnd)?;
                *input = rest;
                Ok(<$type>::from_le_bytes(*head))
            }
            #[inline]
            fn duplicate(&self) -> Self { *self }
            #[inline]
            fn encode_fixed(&self, out: &mut [u8]) { out.copy_from_slice(&self.to_le_bytes()); }
            #[inline]
            fn decode_fixed(input: &[u8]) -> Result<Self, DecodeError> {
                input.try_into().map(<$type>::from_le_bytes).map_err(|_| DecodeError::UnexpectedEnd)
            }
            #[inline]
            fn key_hash(&self) -> u64 { let $value = *self; $hash }
        }
    )* };
}

#[expect(clippy::cast_lossless, clippy::cast_sign_loss, reason = "hashing reinterprets bits")]
mod numbers {
    use super::{DecodeError, Record, Schema, hash};
    number! {
        u8 => |v| hash::word(v as u64), u16 => |v| hash::word(v as u64),
        u32 => |v| hash::word(v as u64), u64 => |v| hash::word(v),
        i8 => |v| hash::word(v as i64 as u64), i16 => |v| hash::word(v as i64 as u64),
        i32 => |v| hash::word(v as i64 as u64), i64 => |v| hash::word(v as u64),
        u128 => |v| hash::bytes(&v.to_le_bytes()), i128 => |v| hash::bytes(&v.to_le_bytes()),
        f32 => |v| hash::word(v.to_bits() as u64), f64 => |v| hash::word(v.to_bits()),
    }
}

impl Record for bool {
    const FIXED_SIZE: Option<usize> = Some(1);
    fn schema() -> Schema {
        Schema::primitive("bool")
    }
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid("a bool is 0 or 1")),
        }
    }
    fn duplicate(&self) -> Self {
        *self
    }
    fn encode_fixed(&self, out: &mut [u8]) {
        out[0] = u8::from(*self);
    }
}

impl Record for char {
    const FIXED_SIZE: Option<usize> = Some(4);
    fn schema() -> Schema {
        Schema::primitive("char")
    }
    fn encode(&self, out: &mut Vec<u8>) {
        u32::from(*self).encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        char::from_u32(u32::decode(input)?).ok_or(DecodeError::Invalid("not a Unicode scalar value"))
    }
    fn duplicate(&self) -> Self {
        *self
    }
    fn encode_fixed(&self, out: &mut [u8]) {
        u32::from(*self).encode_fixed(out);
    }
}

impl Record for () {
    const FIXED_SIZE: Option<usize> = Some(0);
    fn schema() -> Schema {
        Schema::primitive("()")
    }
    fn encode(&self, _out: &mut Vec<u8>) {}
    fn decode(_input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(())
    }
    fn duplicate(&self) -> Self {}
}

impl Record for EventTime {
    const FIXED_SIZE: Option<usize> = Some(8);
    fn schema() -> Schema {
        Schema::primitive("EventTime")
    }
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        i64::decode(input).map(Self)
    }
    fn duplicate(&self) -> Self {
        *self
    }
    fn encode_fixed(&self, out: &mut [u8]) {
        self.0.encode_fixed(out);
    }
    fn decode_fixed(input: &[u8]) -> Result<Self, DecodeError> {
        i64::decode_fixed(input).map(Self)
    }
    fn key_hash(&self) -> u64 {
        self.0.key_hash()
    }
}

impl Record for String {
    const FIXED_SIZE: Option<usize> = None;
    fn schema() -> Schema {
        Schema::primitive("String")
    }
    fn encode(&self, out: &mut Vec<u8>) {
        encode_length(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let length = decode_length(input)?;
        let text = std::str::from_utf8(take(input, length)?);
        text.map(str::to_owned).map_err(|_| DecodeError::Invalid("text is not UTF-8"))
    }
    fn duplicate(&self) -> Self {
        self.clone()
    }
    fn key_hash(&self) -> u64 {
        hash::bytes(self.as_bytes())
    }
}

impl<T: Record> Record for Option<T> {
    const FIXED_SIZE: Option<usize> = None;
    fn schema() -> Schema {
        Schema::Optional(Box::new(T::schema()))
    }
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        bool::decode(input)?.then(|| T::decode(input)).transpose()
    }
    fn duplicate(&self) -> Self {
        self.as_ref().map(T::duplicate)
    }
}

impl<T: Record> Record for Vec<T> {
    const FIXED_SIZE: Option<usize> = None;
    fn schema() -> Schema {
        Schema::List(Box::new(T::schema()))
    }
    fn encode(&self, out: &mut Vec<u8>) {
        if T::FIXED_SIZE == Some(0) {
            let max = EMPTY_VALUES_MAX;
            assert!(self.len() <= max, "a list of values without content has at most {max} values");
        }
        encode_length(self.len(), out);
        encode_all(self, out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let length = u32::decode(input)? as usize;
        if T::FIXED_SIZE == Some(0) && length > EMPTY_VALUES_MAX {
            return Err(DecodeError::Invalid("a list of values without content is too long"));
        }
        let mut records = Self::new();
        decode_all(input, length, &mut records)?;
        Ok(records)
    }
    fn duplicate(&self) -> Self {
        self.iter().map(T::duplicate).collect()
    }
}

impl<K: Record + Ord, V: Record> Record for BTreeMap<K, V> {
    const FIXED_SIZE: Option<usize> = None;
    fn schema() -> Schema {
        Schema::Map(Box::new(K::schema()), Box::new(V::schema()))
    }
    fn encode(&self, out: &mut Vec<u8>) {
        encode_length(self.len(), out);
        for (key, value) in self {
            key.encode(out);
            value.encode(out);
        }
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let length = u32::decode(input)?;
        let mut map = Self::new();
        for _ in 0..length {
            let key = K::decode(input)?;
            map.insert(key, V::decode(input)?);
        }
        Ok(map)
    }
    fn duplicate(&self) -> Self {
        self.iter().map(|(key, value)| (key.duplicate(), value.duplicate())).collect()
    }
}

macro_rules! tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: Record),+> Record for ($($name,)+) {
            const FIXED_SIZE: Option<usize> = fixed_sum(&[$($name::FIXED_SIZE),+]);
            fn schema() -> Schema {
                Schema::Struct(String::new(), vec![$((stringify!($index).into(), $name::schema())),+])
            }
            fn encode(&self, out: &mut Vec<u8>) { $(self.$index.encode(out);)+ }
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> { Ok(($($name::decode(input)?,)+)) }
            fn duplicate(&self) -> Self { ($(self.$index.duplicate(),)+) }
            #[inline]
            fn encode_fixed(&self, out: &mut [u8]) {
                $(let (head, out) = out.split_at_mut(fixed_size_of::<$name>()); self.$index.encode_fixed(head);)+
                debug_assert!(out.is_empty());
            }
            #[inline]
            fn decode_fixed(input: &[u8]) -> Result<Self, DecodeError> {
                let mut input = input;
                Ok(($($name::decode_fixed(take(&mut input, fixed_size_of::<$name>())?)?,)+))
            }
        }
    };
}
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Record + PartialEq + std::fmt::Debug>(value: &T) {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        if let Some(size) = T::FIXED_SIZE {
            assert_eq!(bytes.len(), size);
            let mut fixed = vec![0; size];
            value.encode_fixed(&mut fixed);
            assert_eq!(fixed, bytes);
            assert_eq!(&T::decode_fixed(&bytes).unwrap(), value);
        }
        let mut input = &bytes[..];
        assert_eq!(&T::decode(&mut input).unwrap(), value);
        assert!(input.is_empty());
        assert_eq!(&value.duplicate(), value);
        for cut in 0..bytes.len() {
            assert!(T::decode(&mut &bytes[..cut]).is_err(), "{value:?} cut to {cut} bytes");
        }
    }

    #[test]
    fn values_survive_a_round_trip_and_no_prefix_decodes() {
        round_trip(&7u8);
        round_trip(&-7i64);
        round_trip(&1.5f64);
        round_trip(&'ß');
        round_trip(&true);
        round_trip(&String::from("Straße"));
        round_trip(&(1u32, String::from("x"), -1i8));
        round_trip(&(1u32, 2u64));
        round_trip(&vec![Some(1u16), None]);
        round_trip(&vec![(1u64, 2u64), (3, 4)]);
        round_trip(&BTreeMap::from([(1u8, String::from("a")), (2, String::new())]));
        round_trip(&EventTime(5));
        round_trip(&vec![(); 1000]);
        round_trip(&(1u8, vec![((), ()); EMPTY_VALUES_MAX]));
    }

    #[test]
    #[should_panic(expected = "at most 65536 values")]
    fn a_list_of_empty_values_that_could_not_be_read_is_not_written() {
        vec![(); EMPTY_VALUES_MAX + 1].encode(&mut Vec::new());
    }

    #[test]
    fn a_hostile_length_is_refused_without_allocating() {
        let mut bytes = u32::MAX.to_le_bytes().to_vec();
        bytes.push(1);
        assert!(Vec::<u64>::decode(&mut &bytes[..]).is_err());
        assert!(Vec::<()>::decode(&mut &bytes[..]).is_err());
        assert!(Vec::<String>::decode(&mut &bytes[..]).is_err());
        assert!(String::decode(&mut &bytes[..]).is_err());
    }

    fn hashes_as_its_encoding<T: Record>(value: &T) {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        assert_eq!(value.key_hash(), hash::bytes(&bytes), "{} bytes", bytes.len());
    }

    #[test]
    fn a_key_of_several_fields_hashes_as_its_encoding() {
        hashes_as_its_encoding(&());
        hashes_as_its_encoding(&(7u8,));
        hashes_as_its_encoding(&(7u32, 'ß', true));
        hashes_as_its_encoding(&(1u128, 2u128, 3u128, 4u128));
        hashes_as_its_encoding(&(1u128, 2u128, 3u128, 4u128, 5u8));
        hashes_as_its_encoding(&(7u32, String::from("x")));
        assert_eq!((42u64, 7u32).key_hash(), PAIR);
    }

    /// Frozen for ever, as the vectors of [`hash`].
    const PAIR: u64 = 13_520_917_986_073_280_225;

    #[test]
    fn fingerprints_see_fields_and_not_type_names() {
        let of = |name: &str, field: &str| {
            Schema::Struct(name.into(), vec![(field.into(), Schema::primitive("u8"))]).fingerprint()
        };
        assert_eq!(of("A", "x"), of("B", "x"));
        assert_ne!(of("A", "x"), of("A", "y"));
    }
}
