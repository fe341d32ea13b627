//! An operator that asks for its key gets the one that `key_by` makes.

use flott::prelude::*;

#[derive(Operator)]
struct Keys {}

#[operator]
impl Keys {
    fn process(&mut self, _number: u64, key: &String, out: &mut Output<String>) {
        out.emit(key.clone());
    }
}

fn main() {
    let mut job = Job::new();
    let numbers = job.source("numbers", CollectionSource::new(vec![1u64]));
    let _ = numbers.key_by(|n| *n).process("keys", Keys::new());
}
