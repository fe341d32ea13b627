//! Tumbling windows, with the formula by which Flink finds a window's start.

use std::{collections::BTreeMap, time::Duration};

use flott_core::{Record, testkit::Random};
use flott_operators::window::{Fold, LATE, TumblingWindows, Window, WindowOperator};
use flott_state::heap::HeapBackend;

use crate::{
    ByKey, Event, Model, SEED, Walk, for_each_seed, max_parallelism,
    subtasks::{Harnesses, Keyed, Snapshot},
};

/// A key and a number.
type Item = (u32, i64);

impl Keyed for Item {
    fn key(&self) -> String {
        self.0.to_string()
    }
}

/// The sum of the records, in order: a number that depends on the order, and the count.
type Accumulator = (i64, u64);

fn add((sum, count): &mut Accumulator, n: i64) {
    *sum = sum.wrapping_mul(31).wrapping_add(n);
    *count += 1;
}

/// A key, the bounds of a window and what was added.
type Outcome = (u32, (i64, i64), Accumulator);

impl Keyed for Outcome {
    fn key(&self) -> String {
        self.0.to_string()
    }
}

#[derive(Clone, Copy)]
struct Settings {
    size: i64,
    offset: i64,
    lateness: i64,
    is_late_read: bool,
}

impl Settings {
    fn random(random: &mut Random) -> Self {
        let size = *random.pick(&[1, 2, 7, 10, 100, 1000, random.clone().between(1, 1000)]);
        let offset = if random.one_in(2) { 0 } else { random.between(0, size - 1) };
        let lateness = if random.one_in(2) { 0 } else { random.between(0, 50) };
        Self { size, offset, lateness, is_late_read: random.one_in(2) }
    }

    fn windows(self) -> TumblingWindows {
        let millis = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        TumblingWindows::of(millis(self.size))
            .offset(millis(self.offset))
            .allowed_lateness(millis(self.lateness))
    }

    /// First millisecond and last one, without the bounds of 64 bits. An interval at the end of time is part of the window
    /// before.
    fn window(self, time: i64) -> Bounds {
        let (time, size) = (i128::from(time.min(i64::MAX - 1)), i128::from(self.size));
        let remainder = (time - i128::from(self.offset)) % size;
        let start = if remainder < 0 { time - (remainder + size) } else { time - remainder };
        Bounds { start, end: start + size }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Bounds {
    start: i128,
    end: i128,
}

impl Bounds {
    /// As they are emitted, cut off where event time ends.
    fn cut(self) -> (i64, i64) {
        let bound = |time: i128| i64::try_from(time).unwrap_or(if time < 0 { i64::MIN } else { i64::MAX });
        (bound(self.start), bound(self.end))
    }

    fn max_time(self) -> i64 {
        let (_, end) = self.cut();
        if end == i64::MAX { end } else { end - 1 }
    }

    fn is_over(self, lateness: i64, watermark: i64) -> bool {
        i128::from(self.max_time()) + i128::from(lateness) <= i128::from(watermark) || watermark == i64::MAX
    }
}

#[derive(Clone)]
struct WindowModel {
    settings: Settings,
    open: BTreeMap<(Bounds, u32), Accumulator>,
    fired: BTreeMap<(Bounds, u32), Accumulator>,
    watermark: i64,
    dropped: u64,
}

impl WindowModel {
    fn record(&mut self, (key, n): Item, time: i64, seen: &mut ByKey) {
        let Settings { lateness, is_late_read, .. } = self.settings;
        let window = self.settings.window(time);
        if window.is_over(lateness, self.watermark) {
            if is_late_read {
                seen.entry(format!("side {key}")).or_default().push((format!("{:?}", (key, n)), time));
            } else {
                self.dropped += 1;
            }
        } else if window.is_over(0, self.watermark) || self.fired.contains_key(&(window, key)) {
            // The window has fired, before a restore perhaps: again at once.
            let accumulator = self.fired.entry((window, key)).or_default();
            add(accumulator, n);
            emit(window, key, *accumulator, seen);
        } else {
            add(self.open.entry((window, key)).or_default(), n);
        }
    }

    fn watermark(&mut self, watermark: i64, seen: &mut ByKey) {
        self.watermark = watermark;
        let is_due = |(window, _): &(Bounds, u32)| window.is_over(0, watermark);
        let due: Vec<_> = self.open.keys().copied().filter(is_due).collect();
        for (window, key) in due {
            let accumulator = self.open.remove(&(window, key)).unwrap();
            emit(window, key, accumulator, seen);
            self.fired.insert((window, key), accumulator);
        }
        let lateness = self.settings.lateness;
        self.fired.retain(|(window, _), _| !window.is_over(lateness, watermark));
    }
}

fn emit(window: Bounds, key: u32, accumulator: Accumulator, seen: &mut ByKey) {
    let outcome: Outcome = (key, window.cut(), accumulator);
    seen.entry(outcome.key()).or_default().push((format!("{outcome:?}"), window.max_time()));
}

impl Model for WindowModel {
    type In = Item;

    fn on_event(&mut self, event: &Event<Item>, seen: &mut ByKey) {
        match event {
            Event::Records(records) => {
                records.iter().for_each(|(item, time)| self.record(*item, *time, seen));
            }
            Event::Watermark(time) => self.watermark(*time, seen),
            Event::Tick(_) | Event::End => {}
        }
    }

    fn restore(&mut self) {
        (self.watermark, self.dropped) = (i64::MIN, 0);
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }
}

fn events(random: &mut Random, settings: Settings) -> Vec<Event<Item>> {
    let keys = *random.pick(&[1, 3, 20, 400]);
    let size = *random.pick(&[1, 10, 60]);
    let begin = *random.pick(&[0, -5000, 1_700_000_000_000, i64::MIN + 1, i64::MAX - 3000]);
    let reach = 4 * settings.size + 40;
    let (mut watermark, mut events) = (begin, Vec::new());
    for _ in 0..60 {
        events.push(match random.below(4) {
            0 => {
                watermark = watermark.saturating_add(random.between(0, settings.size + 20));
                Event::Watermark(watermark)
            }
            1 if random.one_in(4) => Event::Tick(0),
            _ => {
                let records = (0..1 + random.below(size)).map(|_| {
                    let time = watermark.saturating_add(random.between(-reach, reach)).max(i64::MIN + 1);
                    ((random.below(keys) as u32, random.between(0, 9)), time)
                });
                Event::Records(records.collect())
            }
        });
    }
    events.extend([Event::Watermark(i64::MAX), Event::End]);
    events
}

fn case(random: &mut Random) -> usize {
    let settings = Settings::random(random);
    let aggregate = Fold::new(
        Accumulator::default,
        |accumulator: &mut Accumulator, item: &Item| add(accumulator, item.1),
        |key: &u32, window: Window, accumulator| (*key, (window.start.0, window.end.0), accumulator),
    );
    let make = || {
        WindowOperator::new(
            settings.windows(),
            aggregate.clone(),
            |item: &Item| item.0,
            HeapBackend::new(SEED),
        )
    };
    let side_output = settings.is_late_read.then_some(LATE);
    let subtasks = Harnesses::<_, Item, _>::new(make, |item| item.0.key_hash(), side_output);
    let (open, fired) = (BTreeMap::new(), BTreeMap::new());
    let model = WindowModel { settings, open, fired, watermark: i64::MIN, dropped: 0 };
    let events = events(random, settings);
    let max_parallelism = max_parallelism(random);
    let parallelism_max = 1 + random.below(4);
    let saved = (0, Snapshot::default(), model.clone());
    Walk { random, max_parallelism, parallelism_max, subtasks, model, saved }.run(&events)
}

#[test]
fn windows_do_what_their_model_does() {
    for_each_seed(80, case);
}
