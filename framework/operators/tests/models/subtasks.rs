//! The subtasks of one operator, each alone in a harness, with state that moves between them as it does in a job.

use std::{any::Any, collections::BTreeMap, fmt::Debug, sync::atomic::Ordering};

use flott_core::{
    KeyGroup, MaxParallelism, Record, SubtaskIndex,
    operator::{Operator, OperatorContext},
    snapshot::{RestoredKeyed, RestoredOperator, Written},
    testkit::{Collector, OperatorHarness, Seen, context, side_target},
};

use crate::Event;

/// A record that was emitted, on the main or the side output.
pub(crate) struct Emitted {
    pub(crate) key: String,
    pub(crate) text: String,
    pub(crate) time: i64,
}

/// Keyed state by name: its schema and its key groups.
#[derive(Default)]
pub(crate) struct Snapshot(BTreeMap<String, (Option<Written>, BTreeMap<KeyGroup, Vec<u8>>)>);

pub(crate) trait Subtasks {
    type In: Clone;

    /// Drops all subtasks and starts others.
    fn restart(&mut self, max_parallelism: MaxParallelism, parallelism: u32, snapshot: &Snapshot);

    /// The records that the subtasks emit because of it, and the number of records that they have dropped so far.
    fn on_event(&mut self, event: &Event<Self::In>) -> (Vec<Emitted>, u64);

    fn snapshot(&mut self) -> Snapshot;
}

/// Subtasks of operators that `make` makes.
pub(crate) struct Harnesses<O: Operator, S, M> {
    make: M,
    /// The hash of a record's key.
    hash: fn(&O::In) -> u64,
    /// The name of the side output that is read, if one is.
    side_output: Option<&'static str>,
    max_parallelism: MaxParallelism,
    subtasks: Vec<(OperatorHarness<O>, Collector<S>)>,
}

impl<O: Operator, S: Record, M: Fn() -> O> Harnesses<O, S, M> {
    pub(crate) fn new(make: M, hash: fn(&O::In) -> u64, side_output: Option<&'static str>) -> Self {
        Self { make, hash, side_output, max_parallelism: MaxParallelism::default(), subtasks: Vec::new() }
    }

    fn start(&self, context: OperatorContext) -> (OperatorHarness<O>, Collector<S>) {
        let mut operator = (self.make)();
        let (target, collector) = side_target::<S>();
        if let Some(name) = self.side_output {
            operator.bind_side_output(name, target as Box<dyn Any + Send>).unwrap();
        }
        (OperatorHarness::in_context(operator, context).unwrap(), collector)
    }

    fn records(&mut self, records: &[(O::In, i64)])
    where
        O::In: Clone,
    {
        let parallelism = self.subtasks.len() as u32;
        let mut batches: Vec<Vec<(O::In, i64)>> = self.subtasks.iter().map(|_| Vec::new()).collect();
        for (record, time) in records {
            let group = self.max_parallelism.key_group((self.hash)(record));
            let subtask = self.max_parallelism.subtask(group, parallelism);
            batches[subtask.0 as usize].push((record.clone(), *time));
        }
        for ((harness, _), batch) in self.subtasks.iter_mut().zip(batches) {
            harness.records(batch).unwrap();
        }
    }
}

impl<O, S, M> Subtasks for Harnesses<O, S, M>
where
    O: Operator<In: Clone, Out: Keyed>,
    S: Record + Keyed,
    M: Fn() -> O,
{
    type In = O::In;

    fn restart(&mut self, max_parallelism: MaxParallelism, parallelism: u32, snapshot: &Snapshot) {
        self.max_parallelism = max_parallelism;
        self.subtasks.clear();
        let parallelism = parallelism.min(max_parallelism.groups() as u32);
        for subtask in (0..parallelism).map(SubtaskIndex) {
            let mut context = context(RestoredOperator::default());
            (context.subtask, context.parallelism, context.max_parallelism) =
                (subtask, parallelism, max_parallelism);
            let own = context.key_groups();
            for (name, (written, groups)) in &snapshot.0 {
                let groups = groups.iter().filter(|(group, _)| own.contains(**group));
                let groups = groups.map(|(group, bytes)| (*group, bytes.clone())).collect();
                context
                    .restored
                    .keyed
                    .insert(name.clone(), RestoredKeyed { written: written.clone(), groups });
            }
            let subtask = self.start(context);
            self.subtasks.push(subtask);
        }
    }

    fn on_event(&mut self, event: &Event<O::In>) -> (Vec<Emitted>, u64) {
        match event {
            Event::Records(records) => self.records(records),
            Event::Watermark(time) => {
                self.subtasks.iter_mut().for_each(|(at, _)| at.watermark(*time).unwrap())
            }
            Event::Tick(time) => self.subtasks.iter_mut().for_each(|(at, _)| at.tick(*time).unwrap()),
            Event::End => self.subtasks.iter_mut().for_each(|(at, _)| at.end().unwrap()),
        }
        let mut emitted = Vec::new();
        let mut dropped = 0;
        for (harness, side) in &mut self.subtasks {
            // Side outputs keep a batch until they are flushed.
            flott_core::operator::Downstream::flush(harness.link()).unwrap();
            emitted.extend(harness.take().into_iter().filter_map(|seen| Keyed::emitted(seen, "")));
            emitted.extend(side.take().into_iter().filter_map(|seen| Keyed::emitted(seen, "side ")));
            dropped += harness.metrics().records_dropped.load(Ordering::Relaxed);
        }
        (emitted, dropped)
    }

    fn snapshot(&mut self) -> Snapshot {
        let mut whole = Snapshot::default();
        for (harness, _) in &mut self.subtasks {
            for (name, state) in harness.snapshot().unwrap().keyed {
                let (written, groups) = whole.0.entry(name).or_default();
                *written = state.written;
                for (group, bytes) in state.groups {
                    assert!(groups.insert(group, bytes).is_none(), "two subtasks have {group:?}");
                }
            }
        }
        whole
    }
}

/// A record that says which key it belongs to.
pub(crate) trait Keyed: Debug + Sized {
    fn key(&self) -> String;

    fn emitted(seen: Seen<Self>, prefix: &str) -> Option<Emitted> {
        let Seen::Record(record, time) = seen else { return None };
        // The side output is an order of its own.
        let key = format!("{prefix}{}", record.key());
        Some(Emitted { key, text: format!("{record:?}"), time })
    }
}
