//! Every signature that `#[operator]` understands.

#![deny(warnings)]
#![allow(dead_code)]

use std::num::TryFromIntError;

use flott::{
    EventTime, Result,
    plumbing::{
        core::{
            operator::{Output, SideOutput},
            state::{EventTimer, MapState, ProcessingTimer, ValueState},
        },
        operators::function::{Context, ProcessFunction},
    },
};

#[derive(flott::Operator)]
pub struct Everything {
    #[state]
    sum: ValueState<i64>,
    #[state]
    by_merchant: MapState<u64, i64>,
    #[timer]
    soon: EventTimer,
    #[timer]
    r#later: ProcessingTimer,
    #[side_output]
    refused: SideOutput<u64>,
    limit: i64,
    name: String,
}

#[flott::operator]
impl Everything {
    fn process(
        &mut self,
        (merchant, cents): (u64, i64),
        context: &Context,
        out: &mut Output<String>,
        key: &String,
    ) -> Result<()> {
        if cents > self.limit {
            self.refused.emit(merchant);
        }
        self.soon.set(EventTime(context.event_time.0 + 1));
        out.emit(format!("{key} {}", self.name));
        Ok(())
    }

    fn on_soon(&mut self, out: &mut Output<String>) {
        out.emit(String::new());
        self.helper();
    }

    fn on_later(&self, key: &String, context: &Context) -> Result<(), TryFromIntError> {
        let _ = (key, u8::try_from(context.event_time.0)?);
        Ok(())
    }

    fn helper(&mut self) {
        self.sum.clear();
    }
}

#[derive(flott::Operator)]
struct Pass;

#[flott::operator]
impl Pass {
    fn process(&self, _: u64) {}
}

#[derive(flott::Operator)]
struct Keyed<K, V, F>
where
    V: PartialEq,
{
    #[state]
    seen: MapState<K, V>,
    #[timer]
    forget: EventTimer,
    is_wanted: F,
}

#[flott::operator]
impl<K, V, F> Keyed<K, V, F>
where
    K: flott::Key,
    V: flott::plumbing::core::Record + PartialEq,
    F: Fn(&V) -> bool,
{
    fn process(&mut self, record: V, key: &K, out: &mut Output<V>) {
        if (self.is_wanted)(&record) && !self.seen.contains_key(key) {
            out.emit(record);
        }
    }

    fn on_forget(&mut self) {
        self.seen.clear();
    }
}

fn assert_function<K: flott::Key>(_: impl ProcessFunction<K> + Clone) {}

fn main() {
    assert_function::<String>(Everything::new(5, String::new()));
    assert_function::<u8>(Pass::new());
    assert_function::<u8>(Keyed::new(|record: &u64| *record > 3));
}
