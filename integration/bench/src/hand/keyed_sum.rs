//! A running sum per key in a hash map, on one core.

use std::hint::black_box;

use rustc_hash::FxHashMap;

use crate::{measure, records::addend};

/// Running sums, and what came out so far.
#[derive(Default)]
pub(super) struct Sums {
    sums: FxHashMap<u64, u64>,
    records: u64,
    checksum: u64,
}

impl Sums {
    /// Adds a record; the running sum comes out.
    #[inline]
    pub(super) fn add(&mut self, (key, n): (u64, u64)) {
        let sum = self.sums.entry(key).or_default();
        *sum += n;
        self.records += 1;
        self.checksum = self.checksum.wrapping_add(black_box(*sum));
    }

    /// Reports what came out.
    pub(super) fn done(&self) {
        measure::done(self.records, self.checksum);
    }
}

pub(super) fn run(records: u64) {
    measure::started();
    let mut sums = Sums::default();
    for n in 0..records {
        sums.add(addend(black_box(n)));
    }
    sums.done();
}
