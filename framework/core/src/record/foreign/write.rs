//! From serde's calls to bytes.

use serde::{Serialize, ser};

use super::{
    BYTES, CHAR, END, F32, F64, FALSE, ForeignError, I128, MAP, NONE, SEQUENCE, SIGNED, SOME, TEXT, TRUE,
    U128, UNIT, UNSIGNED, deeper,
};

type Result<T = (), E = ForeignError> = std::result::Result<T, E>;

/// Appends one value.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    depth: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, depth: 0 }
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.out.push(value.to_le_bytes()[0]);
    }

    fn unsigned(&mut self, value: u64) -> Result {
        self.out.push(UNSIGNED);
        self.varint(value);
        Ok(())
    }

    fn signed(&mut self, value: i64) -> Result {
        self.out.push(SIGNED);
        self.varint((value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
        Ok(())
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) -> Result {
        self.out.push(tag);
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn measured(&mut self, tag: u8, bytes: &[u8]) -> Result {
        self.out.push(tag);
        self.varint(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn begin(&mut self, tag: u8) -> Result {
        self.depth = deeper(self.depth)?;
        self.out.push(tag);
        Ok(())
    }

    fn end(&mut self) {
        self.depth -= 1;
        self.out.push(END);
    }

    /// A map of one entry, whose value follows.
    fn begin_variant(&mut self, name: &str) -> Result {
        self.begin(MAP)?;
        self.measured(TEXT, name.as_bytes())
    }
}

impl<'a, 'w> ser::Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = ForeignError;
    type SerializeSeq = Parts<'a, 'w>;
    type SerializeTuple = Parts<'a, 'w>;
    type SerializeTupleStruct = Parts<'a, 'w>;
    type SerializeTupleVariant = Parts<'a, 'w>;
    type SerializeMap = Parts<'a, 'w>;
    type SerializeStruct = Parts<'a, 'w>;
    type SerializeStructVariant = Parts<'a, 'w>;

    fn serialize_bool(self, value: bool) -> Result {
        self.tagged(if value { TRUE } else { FALSE }, &[])
    }

    fn serialize_i8(self, value: i8) -> Result {
        self.signed(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result {
        self.signed(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result {
        self.signed(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result {
        self.signed(value)
    }

    fn serialize_i128(self, value: i128) -> Result {
        self.tagged(I128, &value.to_le_bytes())
    }

    fn serialize_u8(self, value: u8) -> Result {
        self.unsigned(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result {
        self.unsigned(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result {
        self.unsigned(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result {
        self.unsigned(value)
    }

    fn serialize_u128(self, value: u128) -> Result {
        self.tagged(U128, &value.to_le_bytes())
    }

    fn serialize_f32(self, value: f32) -> Result {
        self.tagged(F32, &value.to_le_bytes())
    }

    fn serialize_f64(self, value: f64) -> Result {
        self.tagged(F64, &value.to_le_bytes())
    }

    fn serialize_char(self, value: char) -> Result {
        self.out.push(CHAR);
        self.varint(u32::from(value).into());
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result {
        self.measured(TEXT, value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result {
        self.measured(BYTES, value)
    }

    fn serialize_none(self) -> Result {
        self.tagged(NONE, &[])
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        self.begin(SOME)?;
        value.serialize(&mut *self)?;
        self.depth -= 1;
        Ok(())
    }

    fn serialize_unit(self) -> Result {
        self.tagged(UNIT, &[])
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result {
        self.begin_variant(variant)?;
        value.serialize(&mut *self)?;
        self.end();
        Ok(())
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Self::SerializeSeq> {
        self.begin(SEQUENCE)?;
        Ok(Parts { writer: self, is_variant: false })
    }

    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleStruct> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleVariant> {
        self.begin_variant(variant)?;
        self.begin(SEQUENCE)?;
        Ok(Parts { writer: self, is_variant: true })
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Self::SerializeMap> {
        self.begin(MAP)?;
        Ok(Parts { writer: self, is_variant: false })
    }

    fn serialize_struct(self, _name: &'static str, length: usize) -> Result<Self::SerializeStruct> {
        self.serialize_map(Some(length))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeStructVariant> {
        self.begin_variant(variant)?;
        self.begin(MAP)?;
        Ok(Parts { writer: self, is_variant: true })
    }
}

/// The values of a sequence or map that is being written.
pub(super) struct Parts<'a, 'w> {
    writer: &'w mut Writer<'a>,
    /// `true` if it lies in the map that a variant is.
    is_variant: bool,
}

impl Parts<'_, '_> {
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        value.serialize(&mut *self.writer)
    }

    fn named<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result {
        self.writer.measured(TEXT, name.as_bytes())?;
        self.part(value)
    }

    fn finish(self) -> Result {
        self.writer.end();
        if self.is_variant {
            self.writer.end();
        }
        Ok(())
    }
}

macro_rules! parts {
    ($($trait:ident :: $method:ident),*) => { $(
        impl ser::$trait for Parts<'_, '_> {
            type Ok = ();
            type Error = ForeignError;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
                self.part(value)
            }
            fn end(self) -> Result {
                self.finish()
            }
        }
    )* };
}
parts!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

macro_rules! named_parts {
    ($($trait:ident),*) => { $(
        impl ser::$trait for Parts<'_, '_> {
            type Ok = ();
            type Error = ForeignError;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result {
                self.named(name, value)
            }
            fn end(self) -> Result {
                self.finish()
            }
        }
    )* };
}
named_parts!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Parts<'_, '_> {
    type Ok = ();
    type Error = ForeignError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result {
        self.part(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.part(value)
    }

    fn end(self) -> Result {
        self.finish()
    }
}
