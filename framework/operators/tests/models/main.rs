//! Stateful operators on the heap backend against models without shortcuts: many seeds, several subtasks, snapshots,
//! kills, and restores with another parallelism. See `FLOTT_TEST_DEPTH` in ARCHITECTURE.md.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod process;
mod subtasks;
mod windows;

use std::collections::BTreeMap;

use flott_core::{MaxParallelism, hash::HashSeed, testkit::Random};
use subtasks::{Emitted, Snapshot, Subtasks};

/// The hash seed of the tables.
const SEED: HashSeed = HashSeed::new(0x5EED, 0xFAC7);

/// One thing that happens to an operator.
#[derive(Clone)]
enum Event<T> {
    /// Records with their event times, in batches.
    Records(Vec<(T, i64)>),
    Watermark(i64),
    Tick(i64),
    End,
}

/// The required behaviour of an operator, per key and in the plainest way.
trait Model: Clone {
    type In: Clone;

    fn on_event(&mut self, event: &Event<Self::In>, seen: &mut ByKey);

    /// It goes on from a checkpoint: state stays, time begins anew.
    fn restore(&mut self);

    /// Records that must have been counted as dropped since the start or the last restore.
    fn dropped(&self) -> u64 {
        0
    }
}

/// The emitted records per key, in order: the text of a record and its event time.
type ByKey = BTreeMap<String, Vec<(String, i64)>>;

/// Drives subtasks and model through the same events, with snapshots, kills and changes of the parallelism in between.
struct Walk<'a, S, M> {
    random: &'a mut Random,
    max_parallelism: MaxParallelism,
    parallelism_max: u64,
    subtasks: S,
    model: M,
    saved: (usize, Snapshot, M),
}

impl<S: Subtasks, M: Model<In = S::In>> Walk<'_, S, M> {
    /// Returns how many records, watermarks and ticks it has gone through, those that were repeated included.
    fn run(mut self, events: &[Event<S::In>]) -> usize {
        self.restart();
        let (mut position, mut count) = (0, 0);
        while let Some(event) = events.get(position) {
            let mut expected = ByKey::new();
            self.model.on_event(event, &mut expected);
            let (actual, dropped) = self.subtasks.on_event(event);
            assert_eq!(by_key(actual), expected, "event {position}");
            assert_eq!(dropped, self.model.dropped(), "event {position}");
            count += if let Event::Records(records) = event { records.len() } else { 1 };
            position += 1;
            let is_ended = matches!(event, Event::End);
            match self.random.below(40) {
                0..4 if !is_ended => {
                    self.saved = (position, self.subtasks.snapshot(), self.model.clone());
                    // A stop: the next run goes on from here. Otherwise the state that was frozen is shared for a while.
                    if self.random.one_in(3) {
                        self.restart();
                    }
                }
                4 => {
                    position = self.saved.0;
                    self.restart();
                }
                _ => {}
            }
        }
        count
    }

    fn restart(&mut self) {
        let (_, snapshot, model) = &self.saved;
        let parallelism = 1 + self.random.below(self.parallelism_max) as u32;
        self.subtasks.restart(self.max_parallelism, parallelism, snapshot);
        self.model = model.clone();
        self.model.restore();
    }
}

fn by_key(emitted: Vec<Emitted>) -> ByKey {
    let mut seen = ByKey::new();
    for Emitted { key, text, time } in emitted {
        seen.entry(key).or_default().push((text, time));
    }
    seen
}

/// Runs a case per seed and says which one failed.
fn for_each_seed(cases: u64, case: fn(&mut Random) -> usize) {
    let mut events = 0;
    for seed in flott_core::testkit::seeds(cases) {
        match std::panic::catch_unwind(|| case(&mut Random::new(seed))) {
            Ok(count) => events += count,
            Err(panic) => {
                eprintln!("failed with seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{} cases, {events} events", cases * flott_core::testkit::depth());
}

fn max_parallelism(random: &mut Random) -> MaxParallelism {
    let any = 1 + random.below(32_768) as u32;
    MaxParallelism::new(*random.pick(&[1, 2, 3, 8, 128, 1024, 32_768, any])).unwrap()
}
