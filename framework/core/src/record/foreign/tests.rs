//! Everything of serde's data model is written and read back; what does not fit is found.
#![expect(clippy::disallowed_types, reason = "users have maps and sets in random order in their records")]

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Debug,
    net::IpAddr,
    str::FromStr,
    time::Duration,
};

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    super::{DecodeError, Schema},
    *,
};

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_foreign(value, &mut bytes);
    bytes
}

fn check() -> ForeignCheck {
    ForeignCheck::new(&Schema::Foreign { name: String::new(), version: 1 })
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug + 'static>(value: &T) {
    let bytes = encoded(value);
    let mut input = &bytes[..];
    assert_eq!(&decode_foreign::<T>(&mut input).unwrap(), value);
    assert!(input.is_empty());
    for cut in 0..bytes.len() {
        assert!(decode_foreign::<T>(&mut &bytes[..cut]).is_err(), "{value:?} cut to {cut} bytes");
    }
    check().value(value).unwrap();
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Eq, Hash, Clone, PartialOrd, Ord)]
struct Unit;

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
enum Shape {
    Empty,
    Newtype(Box<Option<Shape>>),
    Tuple(u8, String),
    Struct { id: u64, inner: Vec<Shape> },
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Sparse {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    last: i8,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Address(IpAddr),
    Text(String),
    Pair { left: Option<u8>, right: Decimal },
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
#[serde(tag = "kind")]
enum Internal {
    Off,
    On(Sparse),
    At { x: f32, y: Option<Option<u8>> },
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
#[serde(tag = "kind", content = "of")]
enum Adjacent {
    Off,
    On(u16),
    At { x: char },
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Flat {
    id: u32,
    #[serde(flatten)]
    sparse: SparseRest,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct SparseRest {
    since: Option<Duration>,
    by: IpAddr,
}

/// Bytes as bytes, not as a sequence.
#[derive(Debug, PartialEq)]
struct Blob(Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Blob;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

#[test]
fn numbers_and_texts_are_read_back() {
    round_trip(&(u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX));
    round_trip(&(i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN));
    round_trip(&(0u64, -1i64, 127u8, 128u16, 1u128, -1i128));
    round_trip(&(1.5f32, f64::MIN_POSITIVE, f64::INFINITY, true, 'ß'));
    round_trip(&("Straße".to_owned(), Blob(vec![0, 255]), vec![0u8, 255]));
    let nan = encoded(&f64::from_bits(0x7FF8_0000_0000_0001));
    assert_eq!(decode_foreign::<f64>(&mut &nan[..]).unwrap().to_bits(), 0x7FF8_0000_0000_0001);
}

#[test]
fn options_units_and_maps_with_any_key_are_read_back() {
    round_trip(&vec![None, Some(None), Some(Some(())), Some(Some(()))]);
    round_trip(&(Some(Unit), (), None::<()>));
    round_trip(&BTreeMap::from([((1u8, Some(Unit)), vec![1u16]), ((2, None), vec![])]));
    round_trip(&HashMap::from([(1.to_string(), 1u8), (2.to_string(), 2)]));
    round_trip(&(0..100u32).collect::<HashSet<_>>());
    round_trip(&Ok::<u8, String>(7));
}

#[test]
fn enums_of_all_representations_are_read_back() {
    let nested = Shape::Struct { id: 1, inner: vec![Shape::Empty, Shape::Tuple(1, "x".into())] };
    round_trip(&vec![Shape::Newtype(Box::new(None)), Shape::Newtype(Box::new(Some(nested)))]);
    let pair = Untagged::Pair { left: Some(1), right: Decimal::new(1250, 2) };
    let address = Untagged::Address([127, 0, 0, 1].into());
    round_trip(&vec![Untagged::Number(-1), address, Untagged::Text("x".into()), pair]);
    let sparse = Sparse { id: 1, note: None, tags: vec![], last: -1 };
    round_trip(&vec![Internal::Off, Internal::On(sparse), Internal::At { x: 0.1, y: Some(Some(1)) }]);
    round_trip(&vec![Adjacent::Off, Adjacent::On(1), Adjacent::At { x: 'x' }]);
}

#[test]
fn types_that_compact_formats_cannot_read_are_read_back() {
    round_trip(&Decimal::from_str("-79228162514264337593543950335").unwrap());
    round_trip(&json!({"a": [1, -1, 1.5, null, true, "x", {"b": []}], "c": u64::MAX}));
    round_trip(&Sparse { id: 1, note: None, tags: vec![], last: 2 });
    round_trip(&Sparse { id: 1, note: Some("x".into()), tags: vec!["y".into()], last: 2 });
    let rest = BTreeMap::from([("more".to_owned(), json!([1]))]);
    let sparse = SparseRest { since: Some(Duration::from_millis(1)), by: [127, 0, 0, 1].into() };
    round_trip(&Flat { id: 1, sparse, rest });
}

#[test]
fn fields_are_read_by_name() {
    #[derive(Serialize)]
    struct Before {
        a: i64,
        b: i64,
        gone: String,
    }
    #[derive(Deserialize, PartialEq, Debug)]
    struct After {
        b: i64,
        a: Option<i64>,
        #[serde(default)]
        new: Vec<u8>,
    }
    let bytes = encoded(&Before { a: 1, b: 2, gone: "x".into() });
    let after = decode_foreign::<After>(&mut &bytes[..]).unwrap();
    assert_eq!(after, After { b: 2, a: Some(1), new: vec![] });
    assert_eq!(decode_foreign::<u8>(&mut &encoded(&Some(7))[..]), Ok(7));
}

#[test]
fn what_the_type_does_not_take_is_an_error() {
    let pair = encoded(&(1u8, 2u8));
    assert!(decode_foreign::<(u8,)>(&mut &pair[..]).is_err());
    let bytes = [&3u32.to_le_bytes()[..], &[UNSIGNED, 1, UNIT]].concat();
    let error = decode_foreign::<u8>(&mut &bytes[..]).unwrap_err();
    assert_eq!(error, DecodeError::Foreign { name: "u8".into(), why: "bytes follow the value".into() });
    let error = decode_foreign::<Sparse>(&mut &encoded(&7)[..]).unwrap_err().to_string();
    assert!(
        error.starts_with("type `Sparse` cannot read what was written: invalid type: integer `7`"),
        "{error}"
    );
}

fn deep(levels: usize) -> Value {
    (0..levels).fold(Value::Null, |inner, _| json!([inner]))
}

#[test]
fn depth_is_bounded_where_it_is_written_and_where_it_is_read() {
    round_trip(&deep(DEPTH_MAX));
    let error = check().value(&deep(DEPTH_MAX + 1)).unwrap_err().to_string();
    assert!(error.contains("type `Value` behind `#[record(serde)]`: it cannot be written: "), "{error}");
    let written = std::panic::catch_unwind(|| encoded(&deep(DEPTH_MAX + 1)));
    assert!(written.is_err());
    for tag in [SOME, SEQUENCE, MAP] {
        let bytes = [&100_000u32.to_le_bytes()[..], &[tag; 100_000]].concat();
        assert!(decode_foreign::<Value>(&mut &bytes[..]).is_err());
        assert!(decode_foreign::<serde::de::IgnoredAny>(&mut &bytes[..]).is_err());
        assert!(decode_foreign::<Option<u8>>(&mut &bytes[..]).is_err());
    }
}

#[derive(Serialize, Deserialize)]
struct Lossy {
    #[serde(serialize_with = "nothing", default = "seven")]
    number: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn nothing<S: Serializer>(_number: &u8, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("nothing")
}

fn seven() -> u8 {
    7
}

#[derive(Serialize, Deserialize)]
struct Counting {
    #[serde(deserialize_with = "one_more")]
    number: u8,
}

fn one_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    u8::deserialize(deserializer).map(|number| number + 1)
}

#[test]
fn a_type_that_does_not_read_what_it_writes_is_named_at_its_first_value() {
    let mut check = check();
    check.value(&1u8).unwrap();
    let error = check.value(&Lossy { number: 1 }).unwrap_err();
    assert_eq!(error.name, "Lossy");
    assert!(error.why.starts_with("what it writes cannot be read back: invalid type: string"), "{error}");
    let error = check.value(&Counting { number: 1 }).unwrap_err();
    assert_eq!(error.why, "it reads back another value than it wrote");
    assert!(!ForeignCheck::new(&Schema::primitive("u8")).is_needed());
}
