use std::collections::BTreeMap;

use super::*;
use crate::{hash, time::EventTime};

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
    round_trip(&(1u8, vec![((), ()); 70_000]));
}

#[test]
fn a_list_of_values_without_content_is_as_long_as_its_encoding() {
    let mut bytes = Vec::new();
    vec![(); 3].encode(&mut bytes);
    assert_eq!(bytes, [3, 0, 0, 0, 0, 0, 0]);
    bytes[5] = 1;
    assert!(Vec::<()>::decode(&mut &bytes[..]).is_err());
}

#[test]
fn a_map_with_a_key_twice_is_refused() {
    let mut bytes = Vec::new();
    vec![(1u8, 10u8), (1, 20)].encode(&mut bytes);
    assert!(BTreeMap::<u8, u8>::decode(&mut &bytes[..]).is_err());
    let many = u32::MAX.to_le_bytes();
    assert!(BTreeMap::<(), ()>::decode(&mut &many[..]).is_err());
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

#[test]
fn no_more_memory_is_reserved_ahead_than_a_little() {
    type Large = (String, Option<(u128, u128, u128, u128)>);
    let garbage = vec![0xFF; 1 << 20];
    let mut records = Vec::<Large>::new();
    assert!(decode_all(&mut &garbage[..], garbage.len(), &mut records).is_err());
    let reserved = records.capacity() * size_of::<Large>();
    assert!(reserved <= 64 << 10, "{reserved} bytes for records of which none is there");
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

struct Chain<const DEPTH: usize>;

macro_rules! chain {
    ($($depth:literal contains $inner:literal),*) => { $(
        impl Chain<$depth> {
            fn schema() -> Schema {
                Schema::of::<Self>(|| Schema::List(Box::new(Chain::<$inner>::schema())))
            }
        }
    )* };
}
chain!(0 contains 1, 1 contains 2, 2 contains 1);

#[test]
fn a_type_that_contains_itself_through_others_is_invalid() {
    let why = Chain::<0>::schema().check().unwrap_err();
    let circle = "`Chain<1>`, which contains `Chain<2>`, which contains `Chain<1>` again";
    assert!(why.starts_with(&format!("a record cannot contain itself: {circle}. ")), "{why}");
    assert_eq!(Chain::<0>::schema().check().unwrap_err(), why, "nothing is left of the first time");
}

fn nested(depth: usize) -> Schema {
    (0..depth).fold(Schema::Foreign { name: "Url".into(), version: 1 }, |inner, _| {
        Schema::Enum("E".into(), vec![("v".into(), inner)])
    })
}

#[test]
fn the_deepest_schema_that_is_allowed_can_be_read() {
    nested(SCHEMA_DEPTH_MAX).check().unwrap();
    let entry = nested(SCHEMA_DEPTH_MAX + 1);
    let text = serde_json::to_string(&entry).unwrap();
    assert_eq!(serde_json::from_str::<Schema>(&text).unwrap(), entry);
    let why = nested(SCHEMA_DEPTH_MAX + 1).check().unwrap_err();
    assert!(why.starts_with("its type nests 31 levels deep, and a checkpoint describes at most 30"), "{why}");
}

#[test]
#[expect(clippy::disallowed_types, reason = "users have maps in random order in their records")]
fn foreign_types_have_short_names_and_count_with_their_version() {
    type Paths = std::collections::HashMap<std::string::String, Vec<Option<std::net::IpAddr>>>;
    assert!(
        foreign_name::<Paths>().starts_with("HashMap<String, Vec<Option<IpAddr>>"),
        "{}",
        foreign_name::<Paths>()
    );
    assert_eq!(foreign_name::<(u8, [Box<str>; 2])>(), "(u8, [Box<str>; 2])");
    let of = |name: &str, version| Schema::Foreign { name: name.into(), version }.fingerprint();
    assert_eq!(of("Decimal", 1), of("Decimal", 1));
    assert_ne!(of("Decimal", 1), of("Decimal", 2));
    assert_ne!(of("Decimal", 1), of("Url", 1));
}

/// Frozen for ever: where keys lie in snapshots depends on them. Another kind of key gets a line, no line ever changes.
#[test]
fn key_hashes_of_all_types_are_frozen() {
    let text = String::from("card-42");
    let hashes = [
        ("unit", ().key_hash()),
        ("false", false.key_hash()),
        ("true", true.key_hash()),
        ("u8", 200u8.key_hash()),
        ("u16", 60_000u16.key_hash()),
        ("u32", 4_000_000_000u32.key_hash()),
        ("u64", u64::MAX.key_hash()),
        ("u128", (u128::MAX - 1).key_hash()),
        ("i8", (-1i8).key_hash()),
        ("i16", (-1i16).key_hash()),
        ("i32", (-1i32).key_hash()),
        ("i64", (-1i64).key_hash()),
        ("i64 min", i64::MIN.key_hash()),
        ("i128", (-1i128).key_hash()),
        ("char", 'ß'.key_hash()),
        ("EventTime", EventTime(-1).key_hash()),
        ("String", text.key_hash()),
        ("empty String", String::new().key_hash()),
        ("None", None::<u64>.key_hash()),
        ("Some", Some(42u64).key_hash()),
        ("Vec", vec![1u16, 2].key_hash()),
        ("Vec of String", vec![text.clone()].key_hash()),
        ("BTreeMap", BTreeMap::from([(1u8, text.clone())]).key_hash()),
        ("1-tuple", (42u64,).key_hash()),
        ("2-tuple", (42u64, 7u32).key_hash()),
        ("3-tuple", (text.clone(), -1i32, true).key_hash()),
        ("large tuple", (1u128, 2u128, 3u128, 4u128, 5u8).key_hash()),
        ("nested", (Some(text), (1u8, 'x')).key_hash()),
    ];
    assert_eq!(hashes, FROZEN);
}

const FROZEN: [(&str, u64); 28] = [
    ("unit", 18143284631475364652),
    ("false", 15019021104524350167),
    ("true", 18143284631475364652),
    ("u8", 4545245708110107337),
    ("u16", 9403113282453219616),
    ("u32", 7002917654322493398),
    ("u64", 16490336266968443936),
    ("u128", 2465875290447295206),
    ("i8", 16490336266968443936),
    ("i16", 16490336266968443936),
    ("i32", 16490336266968443936),
    ("i64", 16490336266968443936),
    ("i64 min", 5196802822362493915),
    ("i128", 8963535085327445022),
    ("char", 17180360136989250111),
    ("EventTime", 16490336266968443936),
    ("String", 8717680644895784589),
    ("empty String", 18143284631475364652),
    ("None", 15019021104524350167),
    ("Some", 838940173513814791),
    ("Vec", 495335710886686384),
    ("Vec of String", 12423360860069180967),
    ("BTreeMap", 6567553275853986067),
    ("1-tuple", 2501519393107675796),
    ("2-tuple", 13520917986073280225),
    ("3-tuple", 5273362825952469232),
    ("large tuple", 9498792221883202259),
    ("nested", 1139684977808110259),
];
