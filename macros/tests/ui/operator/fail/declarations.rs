use flott::{
    Operator,
    plumbing::core::{
        operator::SideOutput,
        state::{EventTimer, ValueState},
    },
};

#[derive(Operator)]
#[state]
struct Everything {
    count: ValueState<u64>,
    disarm: EventTimer,
    refused: SideOutput<u64>,
    #[timer]
    armed: ValueState<bool>,
    #[state]
    limit: u64,
    #[state(ttl = 5)]
    sum: ValueState<u64>,
    #[state]
    #[timer]
    both: ValueState<u64>,
}

#[flott::operator]
impl Everything {
    fn process(&mut self, _record: u64) {}
    fn on_disarm(&mut self) {}
}

fn main() {
    let _ = Everything::new().clone();
}
