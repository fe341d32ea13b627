#![allow(unused)]

use flott::{
    Operator, Result, operator,
    plumbing::{
        core::{operator::Output, state::EventTimer},
        operators::function::Context,
    },
};

#[derive(Operator)]
struct Wrong {
    #[timer]
    disarm: EventTimer,
    #[timer]
    rearm: EventTimer,
}

#[operator(parallelism = 1)]
impl Wrong {
    async fn process<T>(self, record: &u64, out: Output<u64>, card: &u64) -> Result<u64> {
        Ok(*record)
    }
    fn on_disarm(&mut self, key: &u64, out: &mut Output<u64>, context: Context) {}
    fn on_rearm(&mut self, key: &u32, out: &mut Output<u32>, _key: &u32) {}
}

fn main() {}
