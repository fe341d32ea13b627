use flott::{Operator, operator, plumbing::core::operator::Output};

struct Amount(u64);

#[derive(Operator)]
struct Wrong;

#[operator]
impl Wrong {
    fn process(&mut self, _record: Amount, _key: &f64, _out: &mut Output<u64>) {}
}

fn main() {}
