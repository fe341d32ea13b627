//! Damaged and random bytes as records: an error or a value, never a panic, and memory in proportion to the input.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{collections::BTreeMap, time::Duration};

use flott::plumbing::core::{
    EventTime, Record,
    record::{decode_all, encode_all},
    testkit::{Random, depth},
};
use peak_alloc::PeakAlloc;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Maximum memory that a decoder reserves ahead of its input: 64 KiB per level of lists.
const AHEAD_BYTES_MAX: usize = 512 << 10;

/// Memory per byte of input: the largest value that a byte can stand for, twice for a `Vec` that has just grown.
const BYTES_PER_BYTE_MAX: usize = 2 * size_of::<Large>();

#[derive(flott::Record, Clone, Debug, PartialEq)]
struct Payment {
    card: u64,
    cents: i64,
    note: Option<String>,
    is_online: bool,
    #[record(event_time)]
    at: EventTime,
}

#[derive(flott::Record, Clone, Debug, PartialEq)]
enum Change {
    Opened,
    Paid(Vec<Payment>),
    Moved { from: BTreeMap<String, Vec<u16>>, to: char },
    Named(Vec<Vec<String>>),
    Marks(Vec<()>, BTreeMap<(), ()>),
}

/// One byte may stand for much memory.
#[derive(flott::Record, Clone, Debug, PartialEq)]
enum Large {
    Nothing,
    Much((u128, u128, u128, u128, u128, u128), (u128, u128, u128, u128, u128, u128)),
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
enum Foreign {
    Unit,
    Newtype(Option<Box<Foreign>>),
    Tuple(u8, i128, String),
    Struct { tags: Vec<String>, lasts: Duration },
}

#[derive(flott::Record, Clone, Debug, PartialEq)]
struct Priced {
    #[record(serde)]
    price: Decimal,
    #[record(serde)]
    any: Value,
    #[record(serde)]
    all: Vec<Foreign>,
}

/// Decodes bytes that somebody may have changed. Whatever is decoded can be written.
fn decode<T: Record>(bytes: &[u8]) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let decoded = T::decode(&mut &bytes[..]);
    let used = MEMORY.peak_usage().saturating_sub(before);
    let max = AHEAD_BYTES_MAX + BYTES_PER_BYTE_MAX * bytes.len();
    let name = std::any::type_name::<T>();
    assert!(used <= max, "{used} bytes of memory for {} bytes of {name}", bytes.len());
    if let Ok(value) = decoded {
        value.encode(&mut Vec::new());
    }
    let mut records = Vec::<T>::new();
    let _ = decode_all(&mut &bytes[..], bytes.len(), &mut records);
}

/// Sets, adds and removes bytes; numbers that say how much follows become large.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let length = bytes.len();
        let at = random.below(length as u64 + 1) as usize;
        match (random.below(6), bytes.get_mut(at)) {
            (0, Some(byte)) => *byte = random.bits().to_le_bytes()[0],
            (1, Some(byte)) => *byte ^= 1 << random.below(8),
            (2, Some(_)) => drop(bytes.remove(at)),
            (3, _) => bytes.truncate(at),
            (4, _) if at + 4 <= length => bytes[at..at + 4].fill(0xFF),
            _ => bytes.insert(at, *random.pick(&[0, 1, 3, 15, 16, 0x7F, 0x80, 0xFF])),
        }
    }
}

fn attack<T: Record>(values: &[T], random: &mut Random) {
    for value in values {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        decode::<T>(&bytes);
        damage(&mut bytes, random);
        decode::<T>(&bytes);
    }
    let mut bytes = Vec::new();
    encode_all(values, &mut bytes);
    damage(&mut bytes, random);
    decode::<Vec<T>>(&bytes);
    let noise: Vec<u8> = (0..random.below(200)).map(|_| random.bits().to_le_bytes()[0]).collect();
    decode::<T>(&noise);
    // A length that the input may or may not have.
    let mut noise = [&u32::try_from(random.below(300)).unwrap().to_le_bytes()[..], &noise].concat();
    decode::<Vec<T>>(&noise);
    noise[..4].fill(0xFF);
    decode::<Vec<Vec<T>>>(&noise);
}

fn payments(random: &mut Random) -> Vec<Payment> {
    let note = |random: &mut Random| random.one_in(2).then(|| "x".repeat(random.below(20) as usize));
    let payment = |random: &mut Random| Payment {
        card: random.bits(),
        cents: random.between(-5, 5),
        note: note(random),
        is_online: random.one_in(2),
        at: EventTime(random.between(i64::MIN, i64::MAX)),
    };
    (0..random.below(5)).map(|_| payment(random)).collect()
}

fn changes(random: &mut Random) -> Vec<Change> {
    let from = BTreeMap::from([("a".into(), vec![1, 2]), ("b".into(), vec![random.below(9) as u16])]);
    vec![
        Change::Opened,
        Change::Paid(payments(random)),
        Change::Moved { from, to: 'ß' },
        Change::Named(vec![vec!["x".into(), String::new()], vec![]]),
        Change::Marks(vec![(); random.below(5) as usize], BTreeMap::from([((), ())])),
    ]
}

fn priced(random: &mut Random) -> Vec<Priced> {
    let all = vec![
        Foreign::Unit,
        Foreign::Newtype(Some(Box::new(Foreign::Newtype(None)))),
        Foreign::Tuple(7, i128::MIN, "text".into()),
        Foreign::Struct { tags: vec!["a".into()], lasts: Duration::from_nanos(random.bits()) },
    ];
    let any = json!({"a": [null, true, random.between(-9, 9)], "b": {"c": "text", "d": 1.5}});
    vec![Priced { price: Decimal::new(random.between(-99, 99), 2), any, all }]
}

#[test]
fn damaged_bytes_are_an_error_and_cost_no_more_than_their_length() {
    for seed in 0..2_000 * depth() {
        let random = &mut Random::new(seed);
        let (payments, changes, priced) = (payments(random), changes(random), priced(random));
        attack(&payments, random);
        attack(&changes, random);
        attack(&priced, random);
        attack(&[Large::Nothing, Large::Much((1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 6))], random);
    }
    let garbage = vec![0xFF; 1 << 20];
    decode::<Vec<Large>>(&garbage);
    decode::<Vec<Vec<()>>>(&garbage);
    decode::<BTreeMap<(), ()>>(&garbage);
    decode::<Priced>(&garbage);
    let zeros = vec![0; 1 << 20];
    decode::<Vec<Vec<()>>>(&[&(1u32 << 18).to_le_bytes()[..], &zeros].concat());
}
