//! Names that an expansion could trip over, and every shape.

#![deny(warnings)]
#![allow(dead_code)]

use flott::plumbing::core::{EventTime, Record as IsRecord};

type Result = ();
type Option = ();
type Vec = ();
type String = ();

#[derive(flott::Record)]
struct Names {
    out: u64,
    input: u8,
    head: u16,
    self_: i8,
    r#type: u32,
}

#[derive(flott::Record)]
struct Unit;

#[derive(flott::Record)]
struct Empty {}

#[derive(flott::Record)]
struct Tuple(u8, #[record(event_time)] EventTime);

#[derive(flott::Record)]
enum Shapes {
    Unit,
    Tuple(Tuple, u8),
    Struct { out: u64, input: Names },
}

#[derive(flott::Record)]
struct Generic<T: Ord, const N: usize = 3>
where
    T: Clone,
{
    value: T,
}

#[derive(flott::Record)]
struct Foreign<T> {
    #[record(serde)]
    value: std::option::Option<T>,
}

macro_rules! record {
    ($name:ident: $ty:ty) => {
        #[derive(flott::Record)]
        struct $name {
            #[record(event_time)]
            at: $ty,
        }
    };
}
record!(Made: i64);

fn assert_record<T: IsRecord>() {}

fn main() {
    assert_record::<Names>();
    assert_record::<Unit>();
    assert_record::<Empty>();
    assert_record::<Shapes>();
    assert_record::<Generic<u8>>();
    assert_record::<Foreign<std::string::String>>();
    assert_eq!(Made { at: 5 }.event_time(), Some(EventTime(5)));
}
