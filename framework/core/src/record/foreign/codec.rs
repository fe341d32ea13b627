use serde::{Serialize, de::DeserializeOwned};

use super::{
    super::{DecodeError, decode_length, encode_length, take},
    ForeignError,
    read::Reader,
    write::Writer,
};

/// Encodes a foreign type through serde.
///
/// # Panics
/// When the type's `Serialize` fails, or a value nests more than 128 levels deep: nothing could be read back.
pub fn encode_foreign<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let start = out.len();
    encode_length(0, out);
    if let Err(error) = write(value, out) {
        panic!("a value of type `{}` cannot be written through serde: {error}", foreign_name::<T>());
    }
    let mut length = Vec::with_capacity(4);
    encode_length(out.len() - start - 4, &mut length);
    out[start..start + 4].copy_from_slice(&length);
}

/// Decodes what [`encode_foreign`] wrote.
///
/// # Errors
/// When the bytes are not such an encoding, or bytes follow it.
pub fn decode_foreign<T: DeserializeOwned>(input: &mut &[u8]) -> Result<T, DecodeError> {
    let length = decode_length(input)?;
    read(take(input, length)?)
        .map_err(|error| DecodeError::Foreign { name: foreign_name::<T>(), why: error.0 })
}

/// The name of a type without the paths of modules, also in its parameters: `DateTime<Utc>`.
#[must_use]
pub fn foreign_name<T: ?Sized>() -> String {
    let mut short = String::new();
    for letter in std::any::type_name::<T>().chars() {
        short.push(letter);
        if short.ends_with("::") {
            let is_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
            let kept = short.trim_end_matches(is_path).len();
            short.truncate(kept);
        }
    }
    short
}

pub(super) fn write<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), ForeignError> {
    value.serialize(&mut Writer::new(out))
}

pub(super) fn read<T: DeserializeOwned>(input: &[u8]) -> Result<T, ForeignError> {
    let mut reader = Reader::new(input);
    let value = T::deserialize(&mut reader)?;
    reader.finish()?;
    Ok(value)
}
