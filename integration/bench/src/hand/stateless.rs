//! Numbers, mapped, filtered, counted: one opaque number per record, so that the compiler cannot work on several at once.

use std::{hint::black_box, ops::Range, thread};

use crate::{
    measure,
    records::{passes, scramble},
};

pub(super) fn run(records: u64, cores: u64) {
    let share = records / cores;
    measure::started();
    thread::scope(|scope| {
        for core in 1..cores {
            let end = if core + 1 == cores { records } else { (core + 1) * share };
            scope.spawn(move || count(core * share..end));
        }
        count(0..if cores == 1 { records } else { share });
    });
}

fn count(numbers: Range<u64>) {
    let (mut records, mut checksum) = (0, 0u64);
    for n in numbers {
        let n = scramble(black_box(n));
        if passes(n) {
            records += 1;
            checksum = checksum.wrapping_add(n);
        }
    }
    measure::done(records, checksum);
}
