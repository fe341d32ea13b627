use flott::{Operator, operator};

#[derive(Operator)]
struct NoProcess;

#[operator]
impl NoProcess {
    fn proces(&mut self, _record: u64) {}
}

#[derive(Operator)]
struct NoRecord;

#[operator]
impl NoRecord {
    fn process(&mut self) {}
}

#[operator]
struct OnStruct;

#[operator]
impl Clone for OnStruct {
    fn clone(&self) -> Self {
        Self
    }
}

fn main() {}
