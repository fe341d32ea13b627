use std::collections::BTreeMap;

use super::{
    DecodeError, ForeignCheck, Record, Schema, Unreadable, decode_all, encode_all, encode_length,
    fixed_size_of, fixed_sum, take,
};

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
    fn check_foreign(&self, check: &mut ForeignCheck) -> Result<(), Unreadable> {
        self.iter().try_for_each(|value| value.check_foreign(check))
    }
}

impl<T: Record> Record for Vec<T> {
    const FIXED_SIZE: Option<usize> = None;
    fn schema() -> Schema {
        Schema::List(Box::new(T::schema()))
    }
    fn encode(&self, out: &mut Vec<u8>) {
        encode_length(self.len(), out);
        if T::FIXED_SIZE == Some(0) {
            out.resize(out.len() + self.len(), 0);
        } else {
            encode_all(self, out);
        }
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let length = u32::decode(input)? as usize;
        let mut records = Self::new();
        if T::FIXED_SIZE == Some(0) && take(input, length)?.iter().any(|&byte| byte != 0) {
            return Err(DecodeError::Invalid("a value without content is not a zero in a list"));
        }
        decode_all(input, length, &mut records)?;
        Ok(records)
    }
    fn duplicate(&self) -> Self {
        self.iter().map(T::duplicate).collect()
    }
    fn check_foreign(&self, check: &mut ForeignCheck) -> Result<(), Unreadable> {
        self.iter().try_for_each(|value| value.check_foreign(check))
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
            // Not that keys ascend: a later version of the type may order them otherwise.
            if map.insert(key, V::decode(input)?).is_some() {
                return Err(DecodeError::Invalid("a map has a key twice"));
            }
        }
        Ok(map)
    }
    fn duplicate(&self) -> Self {
        self.iter().map(|(key, value)| (key.duplicate(), value.duplicate())).collect()
    }
    fn check_foreign(&self, check: &mut ForeignCheck) -> Result<(), Unreadable> {
        self.iter().try_for_each(|(key, value)| {
            key.check_foreign(check)?;
            value.check_foreign(check)
        })
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
            fn check_foreign(&self, check: &mut ForeignCheck) -> Result<(), Unreadable> {
                $(self.$index.check_foreign(check)?;)+
                Ok(())
            }
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
