use super::{DecodeError, Record, Schema, decode_length, encode_length, take};
use crate::{
    hash::{self, HashSeed},
    time::EventTime,
};

macro_rules! number {
    ($($type:ty => |$value:ident| $hash:expr),* $(,)?) => { $(
        impl Record for $type {
            const FIXED_SIZE: Option<usize> = Some(size_of::<$type>());
            // `hash::word` can be undone.
            const KEY_HASH_IS_UNIQUE: bool = size_of::<$type>() <= size_of::<u64>();
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
    const KEY_HASH_IS_UNIQUE: bool = true;
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
    fn table_hash(&self, seed: HashSeed, _scratch: &mut Vec<u8>) -> u64 {
        seed.bytes(self.as_bytes())
    }
}
