use flott::{Operator, operator, plumbing::core::state::EventTimer};

#[derive(Operator)]
struct Alarm {
    #[timer]
    arm: EventTimer,
    #[timer]
    disarm: EventTimer,
}

#[operator]
impl Alarm {
    fn process(&mut self, _record: u64) {}
    fn on_arm(&mut self) {}
}

fn main() {}
