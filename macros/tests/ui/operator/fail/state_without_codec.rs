use flott::{Operator, plumbing::core::state::ValueState};

struct Total(u64);

#[derive(Operator)]
struct Sum {
    #[state]
    total: ValueState<Total>,
}

fn main() {}
