//! From bytes to serde's calls.

use serde::de::{self, DeserializeSeed, Visitor, value::BorrowedStrDeserializer};

use super::{
    BYTES, CHAR, END, F32, F64, FALSE, ForeignError, I128, MAP, NONE, SEQUENCE, SIGNED, SOME, TEXT, TRUE,
    U128, UNIT, UNSIGNED, deeper,
};

type Result<T, E = ForeignError> = std::result::Result<T, E>;

/// Reads one value.
pub(super) struct Reader<'de> {
    input: &'de [u8],
    depth: usize,
}

impl<'de> Reader<'de> {
    pub(super) fn new(input: &'de [u8]) -> Self {
        Self { input, depth: 0 }
    }

    /// Makes sure that nothing follows the value.
    pub(super) fn finish(&self) -> Result<()> {
        if self.input.is_empty() { Ok(()) } else { Err(invalid("bytes follow the value")) }
    }

    /// The rest of the input.
    pub(super) fn rest(&self) -> &'de [u8] {
        self.input
    }

    pub(super) fn peek(&self) -> Result<u8> {
        self.input.first().copied().ok_or_else(cut_off)
    }

    pub(super) fn tag(&mut self) -> Result<u8> {
        let (tag, rest) = self.input.split_first().ok_or_else(cut_off)?;
        self.input = rest;
        Ok(*tag)
    }

    /// Returns `true` if the sequence or map ends here, and then moves past its end.
    pub(super) fn ends(&mut self) -> Result<bool> {
        let ends = self.peek()? == END;
        if ends {
            self.tag()?;
        }
        Ok(ends)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.input.split_first_chunk().ok_or_else(cut_off)?;
        self.input = rest;
        Ok(*head)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.tag()?;
            let part = u64::from(byte & 0x7F);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(invalid("a number is longer than 64 bits"))
    }

    fn signed(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn measured(&mut self) -> Result<&'de [u8]> {
        let length = usize::try_from(self.varint()?).map_err(|_| cut_off())?;
        let (head, rest) = self.input.split_at_checked(length).ok_or_else(cut_off)?;
        self.input = rest;
        Ok(head)
    }

    fn text(&mut self) -> Result<&'de str> {
        std::str::from_utf8(self.measured()?).map_err(|_| invalid("text is not UTF-8"))
    }

    fn character(&mut self) -> Result<char> {
        let number = u32::try_from(self.varint()?).ok();
        number.and_then(char::from_u32).ok_or_else(|| invalid("not a Unicode scalar value"))
    }

    /// Does something with the values one level down.
    pub(super) fn within<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let depth = self.depth;
        self.depth = deeper(depth)?;
        let value = read(self)?;
        self.depth = depth;
        Ok(value)
    }

    /// Moves past a value.
    pub(super) fn skip(&mut self) -> Result<()> {
        match self.tag()? {
            UNIT | NONE | FALSE | TRUE => Ok(()),
            SOME => self.within(Self::skip),
            UNSIGNED | SIGNED => self.varint().map(drop),
            U128 | I128 => self.fixed::<16>().map(drop),
            F32 => self.fixed::<4>().map(drop),
            F64 => self.fixed::<8>().map(drop),
            CHAR => self.character().map(drop),
            TEXT => self.text().map(drop),
            BYTES => self.measured().map(drop),
            SEQUENCE | MAP => self.within(|reader| {
                while !reader.ends()? {
                    reader.skip()?;
                }
                Ok(())
            }),
            tag => Err(unknown(tag)),
        }
    }

    /// Moves into an `Option` that the type does not ask for.
    fn unwrap_some(&mut self) -> Result<()> {
        while self.peek()? == SOME {
            self.tag()?;
        }
        Ok(())
    }

    /// Reads a value for a type that says which one it expects.
    fn value<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        self.unwrap_some()?;
        de::Deserializer::deserialize_any(self, visitor)
    }
}

fn invalid(what: &str) -> ForeignError {
    ForeignError(what.into())
}

fn cut_off() -> ForeignError {
    invalid("the encoding ends inside a value")
}

fn unknown(tag: u8) -> ForeignError {
    ForeignError(format!("no value begins with {tag}"))
}

macro_rules! expecting {
    ($($method:ident),*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.value(visitor)
        }
    )* };
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = ForeignError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.tag()? {
            UNIT => visitor.visit_unit(),
            NONE => visitor.visit_none(),
            SOME => self.within(|reader| visitor.visit_some(reader)),
            FALSE => visitor.visit_bool(false),
            TRUE => visitor.visit_bool(true),
            UNSIGNED => visitor.visit_u64(self.varint()?),
            SIGNED => visitor.visit_i64(self.signed()?),
            U128 => visitor.visit_u128(u128::from_le_bytes(self.fixed()?)),
            I128 => visitor.visit_i128(i128::from_le_bytes(self.fixed()?)),
            F32 => visitor.visit_f32(f32::from_le_bytes(self.fixed()?)),
            F64 => visitor.visit_f64(f64::from_le_bytes(self.fixed()?)),
            CHAR => visitor.visit_char(self.character()?),
            TEXT => visitor.visit_borrowed_str(self.text()?),
            BYTES => visitor.visit_borrowed_bytes(self.measured()?),
            SEQUENCE => self.within(|reader| {
                let mut parts = Parts { reader, has_ended: false };
                let value = visitor.visit_seq(&mut parts)?;
                parts.finish().map(|()| value)
            }),
            MAP => self.within(|reader| {
                let mut parts = Parts { reader, has_ended: false };
                let value = visitor.visit_map(&mut parts)?;
                parts.finish().map(|()| value)
            }),
            tag => Err(unknown(tag)),
        }
    }

    expecting!(
        deserialize_bool,
        deserialize_i8,
        deserialize_i16,
        deserialize_i32,
        deserialize_i64,
        deserialize_i128,
        deserialize_u8,
        deserialize_u16,
        deserialize_u32,
        deserialize_u64,
        deserialize_u128,
        deserialize_f32,
        deserialize_f64,
        deserialize_char,
        deserialize_str,
        deserialize_string,
        deserialize_bytes,
        deserialize_byte_buf,
        deserialize_unit,
        deserialize_seq,
        deserialize_map,
        deserialize_identifier
    );

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek()? {
            SOME | NONE => self.deserialize_any(visitor),
            UNIT => {
                self.tag()?;
                visitor.visit_none()
            }
            _ => self.within(|reader| visitor.visit_some(reader)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value> {
        self.value(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value> {
        self.value(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.value(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.value(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.unwrap_some()?;
        match self.tag()? {
            TEXT => visitor.visit_enum(BorrowedStrDeserializer::new(self.text()?)),
            MAP => self.within(|reader| {
                let value = visitor.visit_enum(Variant(reader))?;
                if reader.ends()? { Ok(value) } else { Err(invalid("a variant has more than one content")) }
            }),
            tag => Err(ForeignError(format!("a variant does not begin with {tag}"))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.skip()?;
        visitor.visit_unit()
    }
}

/// The values of a sequence, or the keys and values of a map.
struct Parts<'r, 'de> {
    reader: &'r mut Reader<'de>,
    has_ended: bool,
}

impl<'de> Parts<'_, 'de> {
    fn next<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        self.has_ended = self.has_ended || self.reader.ends()?;
        if self.has_ended { Ok(None) } else { seed.deserialize(&mut *self.reader).map(Some) }
    }

    /// Makes sure that the type has taken everything.
    fn finish(mut self) -> Result<()> {
        self.has_ended = self.has_ended || self.reader.ends()?;
        if self.has_ended { Ok(()) } else { Err(invalid("there are more values than the type takes")) }
    }
}

impl<'de> de::SeqAccess<'de> for &mut Parts<'_, 'de> {
    type Error = ForeignError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        self.next(seed)
    }
}

impl<'de> de::MapAccess<'de> for &mut Parts<'_, 'de> {
    type Error = ForeignError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        self.next(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        seed.deserialize(&mut *self.reader)
    }
}

/// A variant with content: its name, then what it holds.
struct Variant<'r, 'de>(&'r mut Reader<'de>);

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = ForeignError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self)> {
        Ok((seed.deserialize(&mut *self.0)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = ForeignError;

    fn unit_variant(self) -> Result<()> {
        de::Deserialize::deserialize(self.0)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value> {
        self.0.value(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.0.value(visitor)
    }
}
