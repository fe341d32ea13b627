//! A count per auction and window: one hash map per open window.

use std::{collections::VecDeque, hint::black_box};

use rustc_hash::FxHashMap;

use crate::{
    measure,
    records::{Bid, WINDOW_MS, bid, window_checksum},
};

/// Bids between two looks at how far event time has come.
const WATERMARK_EVERY: u64 = 10_000;

#[derive(Default)]
struct Windows {
    /// By start, ascending.
    open: VecDeque<(u64, FxHashMap<u64, u64>)>,
    /// Where the window of the last bid is in `open`.
    last: usize,
    records: u64,
    checksum: u64,
}

impl Windows {
    #[inline]
    fn add(&mut self, bid: Bid) {
        let start = bid.time.0.unsigned_abs() / WINDOW_MS * WINDOW_MS;
        if self.open.get(self.last).is_none_or(|(open, _)| *open != start) {
            self.open(start);
        }
        *self.open[self.last].1.entry(bid.auction).or_default() += 1;
    }

    #[cold]
    fn open(&mut self, start: u64) {
        let at = self.open.partition_point(|(open, _)| *open < start);
        if self.open.get(at).is_none_or(|(open, _)| *open != start) {
            self.open.insert(at, (start, FxHashMap::default()));
        }
        self.last = at;
    }

    fn fire(&mut self, watermark: u64) {
        while self.open.front().is_some_and(|(start, _)| *start + WINDOW_MS <= watermark)
            && let Some((start, counts)) = self.open.pop_front()
        {
            self.last = self.last.saturating_sub(1);
            for (auction, count) in counts {
                self.records += 1;
                self.checksum = self.checksum.wrapping_add(window_checksum(auction, start, count));
            }
        }
    }
}

pub(super) fn run(records: u64) {
    measure::started();
    let mut windows = Windows::default();
    for n in 0..records {
        let bid = black_box(bid(n));
        if n % WATERMARK_EVERY == 0 {
            windows.fire(bid.time.0.unsigned_abs());
        }
        windows.add(bid);
    }
    windows.fire(u64::MAX);
    measure::done(windows.records, windows.checksum);
}
