//! A running sum per key on several threads: each makes its share of the records and owns its share of the keys.
//!
//! The exchange is free of branches that cannot be predicted: a record is written into the buffer of its owner, whoever
//! that is, and only a full buffer is looked at. Buffers go round between the threads.

use std::{hint::black_box, thread};

use rtrb::{Consumer, Producer, RingBuffer};

use super::keyed_sum::Sums;
use crate::{measure, records::addend};

type Record = (u64, u64);
type Buffer = Vec<Record>;

const BUFFER: usize = 1024;
const QUEUE: usize = 16;

/// One thread's ends of the queues to and from another.
struct Lane {
    full: Producer<Buffer>,
    returned: Consumer<Buffer>,
    arriving: Consumer<Buffer>,
    empty: Producer<Buffer>,
    is_open: bool,
}

struct Worker {
    me: usize,
    buffers: Vec<(Buffer, usize)>,
    lanes: Vec<Option<Lane>>,
    sums: Sums,
}

/// Which of `owners` a key belongs to.
#[inline]
pub(super) fn owner(key: u64, owners: usize) -> usize {
    ((key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize * owners) >> 32
}

pub(super) fn run(records: u64, threads: usize) {
    let mut lanes = lanes(threads);
    measure::started();
    thread::scope(|scope| {
        let share = records / threads as u64;
        for (me, lanes) in lanes.drain(..).enumerate() {
            let end = if me + 1 == threads { records } else { (me as u64 + 1) * share };
            let start = me as u64 * share;
            scope.spawn(move || Worker::new(me, lanes).run(start..end));
        }
    });
}

#[expect(clippy::needless_range_loop, reason = "pairs of threads: both ends of a pair are set at once")]
fn lanes(threads: usize) -> Vec<Vec<Option<Lane>>> {
    let queue = || RingBuffer::<Buffer>::new(QUEUE);
    let mut lanes: Vec<Vec<Option<Lane>>> =
        (0..threads).map(|_| (0..threads).map(|_| None).collect()).collect();
    for a in 0..threads {
        for b in a + 1..threads {
            let ((ab, ab_end), (ba, ba_end)) = (queue(), queue());
            let ((ab_back, ab_back_end), (ba_back, ba_back_end)) = (queue(), queue());
            lanes[a][b] = Some(Lane {
                full: ab,
                returned: ab_back_end,
                arriving: ba_end,
                empty: ba_back,
                is_open: true,
            });
            lanes[b][a] = Some(Lane {
                full: ba,
                returned: ba_back_end,
                arriving: ab_end,
                empty: ab_back,
                is_open: true,
            });
        }
    }
    lanes
}

impl Worker {
    fn new(me: usize, lanes: Vec<Option<Lane>>) -> Self {
        let buffers = lanes.iter().map(|_| (vec![(0, 0); BUFFER], 0)).collect();
        Self { me, buffers, lanes, sums: Sums::default() }
    }

    fn run(mut self, numbers: std::ops::Range<u64>) {
        let owners = self.buffers.len();
        for n in numbers {
            let record = addend(black_box(n));
            let to = owner(record.0, owners);
            let (buffer, len) = &mut self.buffers[to];
            buffer[*len % BUFFER] = record;
            *len += 1;
            if *len == BUFFER {
                self.send(to);
            }
        }
        for to in 0..owners {
            if self.buffers[to].1 > 0 {
                self.send(to);
            }
        }
        self.finish();
        self.sums.done();
    }

    fn send(&mut self, to: usize) {
        let Self { buffers, sums, .. } = self;
        let (buffer, len) = &mut buffers[to];
        let len = std::mem::take(len);
        if to == self.me {
            buffer[..len].iter().for_each(|record| sums.add(*record));
            return;
        }
        let mut buffer = std::mem::take(buffer);
        buffer.truncate(len);
        loop {
            let lane = self.lanes[to].as_mut().expect("there is a lane to every other thread");
            match lane.full.push(buffer) {
                Ok(()) => break,
                Err(rtrb::PushError::Full(back)) => buffer = back,
            }
            self.receive();
        }
        let lane = self.lanes[to].as_mut().expect("there is a lane to every other thread");
        let mut empty = lane.returned.pop().unwrap_or_default();
        empty.resize(BUFFER, (0, 0));
        self.buffers[to].0 = empty;
        self.receive();
    }

    /// Works off what has arrived; whether that was anything.
    fn receive(&mut self) -> bool {
        let Self { lanes, sums, .. } = self;
        let mut has_received = false;
        for lane in lanes.iter_mut().flatten() {
            while let Ok(buffer) = lane.arriving.pop() {
                has_received = true;
                lane.is_open &= !buffer.is_empty();
                buffer.iter().for_each(|record| sums.add(*record));
                let _ = lane.empty.push(buffer);
            }
        }
        has_received
    }

    fn finish(&mut self) {
        let me = self.me;
        for to in (0..self.lanes.len()).filter(|to| *to != me) {
            // An empty buffer, which says that there will be no more.
            self.send(to);
        }
        while self.lanes.iter().flatten().any(|lane| lane.is_open) {
            if !self.receive() {
                std::hint::spin_loop();
            }
        }
    }
}
