use flott::operator;

struct Naked;

#[operator]
impl Naked {
    fn process(&mut self, _record: u64) {}
}

fn main() {}
