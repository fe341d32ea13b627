//! An operator takes the records of the stream before it.

use flott::prelude::*;

#[derive(Operator)]
struct Lengths {}

#[operator]
impl Lengths {
    fn process(&mut self, text: String, out: &mut Output<u64>) {
        out.emit(text.len() as u64);
    }
}

fn main() {
    let mut job = Job::new();
    let numbers = job.source("numbers", CollectionSource::new(vec![1u64]));
    let _ = numbers.key_by(|n| *n).process("lengths", Lengths::new());
}
