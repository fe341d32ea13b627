//! Records through the derive: codec, schema, event time, hash.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]
#![expect(clippy::disallowed_types, reason = "users have maps in random order in their records")]

use std::{collections::BTreeMap, fmt::Debug};

use flott::plumbing::core::{EventTime, Record, Schema, hash, record};
use serde::{Deserialize, Serialize};

fn round_trip<T: Record + PartialEq + Debug>(value: &T) {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    if let Some(size) = T::FIXED_SIZE {
        assert_eq!(bytes.len(), size);
        let mut fixed = vec![0xff; size];
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

#[derive(flott::Record, Debug, PartialEq)]
struct Payment {
    card: u64,
    cents: i64,
    is_online: bool,
    #[record(event_time)]
    at: EventTime,
}

const PAYMENT: Payment =
    Payment { card: 42, cents: -1250, is_online: true, at: EventTime(1_700_000_000_000) };

#[derive(flott::Record, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CardId(u64);

#[derive(flott::Record, Debug, PartialEq)]
struct Mark;

#[derive(flott::Record, Debug, PartialEq)]
struct Window<K, V, const MINUTES: u32> {
    key: K,
    values: Vec<V>,
    names: BTreeMap<u8, String>,
}

#[derive(flott::Record, Debug, PartialEq, Clone, Copy)]
enum Currency {
    Euro,
    Dollar,
    Yen,
}

#[derive(flott::Record, Debug, PartialEq)]
enum Change {
    Opened,
    Paid(Payment, Currency),
    Moved {
        r#type: String,
        #[record(event_time)]
        at: u64,
    },
    Closed(#[record(event_time)] i64),
}

/// Stands for a type of another crate.
#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Decimal {
    digits: Vec<u8>,
    scale: u32,
}

#[derive(flott::Record, Debug, PartialEq)]
struct Priced<T> {
    #[record(serde)]
    price: Decimal,
    #[record(serde)]
    tags: Vec<(T, String)>,
    card: CardId,
}

fn decimal() -> Decimal {
    Decimal { digits: vec![1, 2, 3], scale: 2 }
}

#[test]
fn values_survive_a_round_trip_and_no_prefix_decodes() {
    round_trip(&PAYMENT);
    round_trip(&CardId(7));
    round_trip(&Mark);
    round_trip(&Window::<_, _, 1> {
        key: CardId(1),
        values: vec![PAYMENT, PAYMENT],
        names: BTreeMap::from([(1, String::from("a"))]),
    });
    round_trip(&Currency::Euro);
    round_trip(&Currency::Yen);
    round_trip(&Change::Opened);
    round_trip(&Change::Paid(PAYMENT, Currency::Dollar));
    round_trip(&Change::Moved { r#type: String::from("x"), at: 5 });
    round_trip(&Priced { price: decimal(), tags: vec![(1.5f32, String::from("t"))], card: CardId(9) });
}

#[test]
fn batches_of_fixed_size_are_their_records_in_a_row() {
    let payments = vec![PAYMENT, Payment { card: 7, is_online: false, ..PAYMENT }];
    let mut bytes = Vec::new();
    record::encode_all(&payments, &mut bytes);
    assert_eq!(bytes.len(), 2 * 25);
    let mut decoded: Vec<Payment> = Vec::new();
    record::decode_all(&mut &bytes[..], 2, &mut decoded).unwrap();
    assert_eq!(decoded, payments);
}

#[test]
fn the_encoding_is_frozen() {
    let mut bytes = Vec::new();
    let payment = Payment { card: 1, cents: 2, is_online: true, at: EventTime(3) };
    Change::Paid(payment, Currency::Yen).encode(&mut bytes);
    let fields: [&[u8]; 6] =
        [&[1], &1u64.to_le_bytes(), &2i64.to_le_bytes(), &[1], &3i64.to_le_bytes(), &[2]];
    assert_eq!(bytes, fields.concat());
}

#[test]
fn sizes_are_known_where_all_values_have_the_same() {
    assert_eq!(Payment::FIXED_SIZE, Some(25));
    assert_eq!(CardId::FIXED_SIZE, Some(8));
    assert_eq!(Mark::FIXED_SIZE, Some(0));
    assert_eq!(Currency::FIXED_SIZE, Some(1));
    assert_eq!(Change::FIXED_SIZE, None);
    assert_eq!(Priced::<u8>::FIXED_SIZE, None);
}

#[test]
fn a_number_that_no_variant_has_is_refused() {
    assert!(Currency::decode(&mut &[3u8][..]).is_err());
    assert!(Currency::decode_fixed(&[3]).is_err());
    assert!(Change::decode(&mut &[4u8][..]).is_err());
}

#[test]
fn the_marked_field_is_the_event_time() {
    assert_eq!(PAYMENT.event_time(), Some(PAYMENT.at));
    assert_eq!(Mark.event_time(), None);
    assert_eq!(Change::Opened.event_time(), None);
    assert_eq!(Change::Moved { r#type: String::new(), at: 5 }.event_time(), Some(EventTime(5)));
    assert_eq!(Change::Moved { r#type: String::new(), at: u64::MAX }.event_time(), Some(EventTime::MAX));
    assert_eq!(Change::Closed(-5).event_time(), Some(EventTime(-5)));
}

#[test]
fn a_newtype_hashes_as_what_it_wraps() {
    assert_eq!(CardId(42).key_hash(), 42u64.key_hash());
    let mut bytes = Vec::new();
    PAYMENT.encode(&mut bytes);
    assert_eq!(PAYMENT.key_hash(), hash::bytes(&bytes));
}

#[test]
fn schemas_name_fields_variants_and_foreign_types() {
    let field = |name: &str, ty: &str| (String::from(name), Schema::primitive(ty));
    let payment = vec![
        field("card", "u64"),
        field("cents", "i64"),
        field("is_online", "bool"),
        field("at", "EventTime"),
    ];
    assert_eq!(Payment::schema(), Schema::Struct(String::from("Payment"), payment));
    let Schema::Enum(name, variants) = Change::schema() else { panic!("an enum has an enum's schema") };
    assert_eq!(name, "Change");
    let names: Vec<_> = variants.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Opened", "Paid", "Moved", "Closed"]);
    let moved = vec![field("type", "String"), field("at", "u64")];
    assert_eq!(variants[2].1, Schema::Struct(String::from("Moved"), moved));
    let Schema::Struct(_, fields) = Priced::<u8>::schema() else { panic!("a struct has a struct's schema") };
    assert_eq!(fields[0].1, Schema::Foreign { name: String::from("Decimal"), version: 1 });
    assert_ne!(Priced::<u8>::schema(), Priced::<u16>::schema());
}

#[derive(flott::Record, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CardName(String);

#[derive(flott::Record, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Nobody,
    Person { name: CardName, year: u16 },
    Company(Option<CardId>),
}

/// Frozen for ever: where keys lie in snapshots depends on them.
#[test]
fn key_hashes_of_derived_types_are_frozen() {
    let name = || CardName(String::from("card-42"));
    let hashes = [
        CardId(42).key_hash(),
        name().key_hash(),
        Currency::Yen.key_hash(),
        Owner::Nobody.key_hash(),
        Owner::Person { name: name(), year: 1999 }.key_hash(),
        Owner::Company(Some(CardId(42))).key_hash(),
        PAYMENT.key_hash(),
        Many::V256.key_hash(),
    ];
    assert_eq!(hashes, FROZEN);
}

const FROZEN: [u64; 8] = [
    13679457532755275413,
    8717680644895784589,
    14180145310254810295,
    15019021104524350167,
    6340333818752241261,
    8464446265748042307,
    11715488579985507683,
    7707623209840805660,
];

#[test]
fn a_newtype_lies_in_tables_as_what_it_wraps() {
    let seed = hash::HashSeed::new(1, 2);
    let scratch = &mut Vec::new();
    const { assert!(CardId::KEY_HASH_IS_UNIQUE && !CardName::KEY_HASH_IS_UNIQUE && !Owner::KEY_HASH_IS_UNIQUE) }
    assert_eq!(CardId(42).table_hash(seed, scratch), 42u64.table_hash(seed, scratch));
    let text = String::from("card-42");
    assert_eq!(CardName(text.clone()).table_hash(seed, scratch), text.table_hash(seed, scratch));
    assert_ne!(Owner::Nobody.table_hash(seed, scratch), Owner::Company(None).table_hash(seed, scratch));
}

#[derive(flott::Record)]
struct ByPath {
    #[record(serde, version = 2)]
    at: std::net::IpAddr,
    #[record(serde)]
    all: std::collections::HashMap<u8, std::net::IpAddr>,
}

#[test]
fn how_a_foreign_type_is_written_in_the_source_does_not_matter() {
    use std::collections::HashMap;
    let Schema::Struct(_, fields) = ByPath::schema() else { panic!("a struct has a struct's schema") };
    let names = [("IpAddr", 2), ("HashMap<u8, IpAddr>", 1)];
    let expected = names.map(|(name, version)| Schema::Foreign { name: name.into(), version });
    assert_eq!(fields.into_iter().map(|(_, schema)| schema).collect::<Vec<_>>(), expected);
    let Schema::Struct(_, fields) = Priced::<HashMap<u8, CardNumber>>::schema() else { panic!("as above") };
    let Schema::Foreign { name, .. } = &fields[1].1 else { panic!("behind serde") };
    assert!(name.starts_with("Vec<(HashMap<u8, CardNumber"), "{name}");
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct CardNumber(u64);

#[derive(flott::Record)]
struct Tree {
    nodes: Vec<Node>,
}

#[derive(flott::Record)]
struct Node {
    name: String,
    tree: Option<Tree>,
}

#[test]
fn records_that_contain_each_other_are_invalid() {
    let why = Tree::schema().check().unwrap_err();
    assert!(why.contains("`Tree`, which contains `Node`, which contains `Tree` again"), "{why}");
    assert!(Node::schema().check().is_err());
    let node = Node { name: String::new(), tree: None };
    assert_eq!(Tree { nodes: vec![node] }.nodes[0].name.len(), 0);
}

/// Reads what it wrote as something else.
#[derive(Debug, PartialEq, Clone)]
struct Broken;

impl Serialize for Broken {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(7)
    }
}

impl<'de> Deserialize<'de> for Broken {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bool::deserialize(deserializer).map(|_| Self)
    }
}

#[derive(flott::Record)]
enum Holder {
    Empty,
    Listed(Vec<Option<Held>>),
    Named { held: Held },
}

#[derive(flott::Record)]
struct Held(#[record(serde)] Broken);

#[test]
fn a_foreign_value_is_checked_wherever_it_lies() {
    let check = |holder: &Holder| record::ForeignCheck::new(&Holder::schema()).record(holder);
    check(&Holder::Empty).unwrap();
    check(&Holder::Listed(vec![None])).unwrap();
    for holder in [Holder::Listed(vec![None, Some(Held(Broken))]), Holder::Named { held: Held(Broken) }] {
        let error = check(&holder).unwrap_err();
        assert_eq!(error.name, "Broken");
        assert!(error.to_string().contains("expected a boolean"), "{error}");
    }
}

/// More variants than a byte can number.
#[derive(flott::Record, Debug, PartialEq)]
#[rustfmt::skip]
enum Many {
    V0, V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12, V13, V14, V15,
    V16, V17, V18, V19, V20, V21, V22, V23, V24, V25, V26, V27, V28, V29, V30, V31,
    V32, V33, V34, V35, V36, V37, V38, V39, V40, V41, V42, V43, V44, V45, V46, V47,
    V48, V49, V50, V51, V52, V53, V54, V55, V56, V57, V58, V59, V60, V61, V62, V63,
    V64, V65, V66, V67, V68, V69, V70, V71, V72, V73, V74, V75, V76, V77, V78, V79,
    V80, V81, V82, V83, V84, V85, V86, V87, V88, V89, V90, V91, V92, V93, V94, V95,
    V96, V97, V98, V99, V100, V101, V102, V103, V104, V105, V106, V107, V108, V109, V110, V111,
    V112, V113, V114, V115, V116, V117, V118, V119, V120, V121, V122, V123, V124, V125, V126, V127,
    V128, V129, V130, V131, V132, V133, V134, V135, V136, V137, V138, V139, V140, V141, V142, V143,
    V144, V145, V146, V147, V148, V149, V150, V151, V152, V153, V154, V155, V156, V157, V158, V159,
    V160, V161, V162, V163, V164, V165, V166, V167, V168, V169, V170, V171, V172, V173, V174, V175,
    V176, V177, V178, V179, V180, V181, V182, V183, V184, V185, V186, V187, V188, V189, V190, V191,
    V192, V193, V194, V195, V196, V197, V198, V199, V200, V201, V202, V203, V204, V205, V206, V207,
    V208, V209, V210, V211, V212, V213, V214, V215, V216, V217, V218, V219, V220, V221, V222, V223,
    V224, V225, V226, V227, V228, V229, V230, V231, V232, V233, V234, V235, V236, V237, V238, V239,
    V240, V241, V242, V243, V244, V245, V246, V247, V248, V249, V250, V251, V252, V253, V254, V255,
    V256,
}

#[test]
fn many_variants_are_numbered_by_two_bytes() {
    assert_eq!(Many::FIXED_SIZE, Some(2));
    round_trip(&Many::V256);
}
