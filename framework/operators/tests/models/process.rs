//! A user-written operator with all kinds of state, whose callbacks set and delete timers, also in the past.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
};

use flott_core::{
    EventTime, Key, ProcessingTime, Record, Result, Schema, Watermark, hash,
    operator::{Output, SideLink, SideOutput},
    record::DecodeError,
    state::{
        EventTimer, KeyedState, MapState, ProcessingTimer, StateBackend, StateBinder, StateDeclaration,
        StateHandle, TimerTable, ValueState,
    },
    testkit::Random,
};
use flott_operators::{
    function::{Context, OperatorState, ProcessFunction, TimerKind},
    keyed::KeyedProcess,
};
use flott_state::heap::HeapBackend;

use crate::{
    ByKey, Event, Model, SEED, Walk, for_each_seed, max_parallelism,
    subtasks::{Harnesses, Keyed, Snapshot},
};

/// Timers 0 and 1 are event-time timers, 2 is a processing-time timer.
const TIMERS: [TimerKind; 3] = [TimerKind::EventTime, TimerKind::EventTime, TimerKind::ProcessingTime];

/// A step that a record or a callback makes the operator take.
#[derive(Clone, Copy, Debug)]
enum Order {
    Add(i64),
    Clear,
    Insert(u8, i64),
    Remove(u8),
    ClearMap,
    SetTimer(usize, i64),
    DeleteTimer(usize, i64),
    Side(u64),
}

impl Order {
    fn random(random: &mut Random, around: [i64; 2]) -> Self {
        let timer = random.below(3) as usize;
        let time = around[timer / 2].saturating_add(random.between(-60, 120));
        match random.below(16) {
            0..2 => Self::Add(random.between(-5, 5)),
            2 => Self::Clear,
            3..5 => Self::Insert(random.below(6) as u8, random.between(0, 99)),
            5 => Self::Remove(random.below(6) as u8),
            6 if random.one_in(3) => Self::ClearMap,
            7..10 => Self::DeleteTimer(timer, time),
            10 => Self::Side(random.below(1000)),
            _ => Self::SetTimer(timer, time),
        }
    }

    /// The step of a callback. It depends on values that operator and model both know. It sets less than one timer on average,
    /// so that callbacks come to an end.
    fn of_callback(key_hash: u64, timer: usize, time: i64, callbacks: i64, around: [i64; 2]) -> Option<Self> {
        let seed = [key_hash, timer as u64, time as u64, callbacks as u64];
        let mut random = Random::new(seed.into_iter().fold(0, |seed, part| hash::word(seed ^ part)));
        if random.one_in(3) { None } else { Some(Self::random(&mut random, around)) }
    }
}

/// A record: its key and an order.
#[derive(Clone, Debug)]
struct Ordered<K> {
    key: K,
    order: Order,
}

/// Never crosses the wire: operators here are driven by hand.
impl<K: Key + Clone> Record for Ordered<K> {
    const FIXED_SIZE: Option<usize> = None;
    fn schema() -> Schema {
        Schema::primitive("Ordered")
    }
    fn encode(&self, out: &mut Vec<u8>) {
        format!("{:?}", self.order).encode(out);
    }
    fn decode(_input: &mut &[u8]) -> Result<Self, DecodeError> {
        unreachable!("inputs of these operators are not encoded")
    }
    fn duplicate(&self) -> Self {
        self.clone()
    }
}

/// An emitted record: the hash of the key and a text.
type Line = (u64, String);

impl Keyed for Line {
    fn key(&self) -> String {
        self.0.to_string()
    }
}

#[derive(Default)]
struct Following {
    sum: ValueState<i64>,
    callbacks: ValueState<i64>,
    map: MapState<u8, i64>,
    first: EventTimer,
    second: EventTimer,
    tick: ProcessingTimer,
    side: SideOutput<Line>,
}

impl Following {
    fn follow(&mut self, key_hash: u64, order: Order) {
        match order {
            Order::Add(n) => *self.sum.get_or_insert_with(|| 100) += n,
            Order::Clear => self.sum.clear(),
            Order::Insert(map_key, n) => drop(self.map.insert(map_key, n)),
            Order::Remove(map_key) => drop(self.map.remove(&map_key)),
            Order::ClearMap => self.map.clear(),
            Order::SetTimer(0, time) => self.first.set(EventTime(time)),
            Order::SetTimer(1, time) => self.second.set(EventTime(time)),
            Order::SetTimer(_, time) => self.tick.set(ProcessingTime(time)),
            Order::DeleteTimer(0, time) => drop(self.first.delete(EventTime(time))),
            Order::DeleteTimer(1, time) => drop(self.second.delete(EventTime(time))),
            Order::DeleteTimer(_, time) => drop(self.tick.delete(ProcessingTime(time))),
            Order::Side(n) => self.side.emit((key_hash, format!("side {n}"))),
        }
    }

    fn report(&mut self, key_hash: u64, what: &str, context: &Context, out: &mut Output<Line>) {
        let mut map = Vec::new();
        self.map.visit(|map_key, n| {
            map.push((*map_key, *n));
            true
        });
        let sum = self.sum.get();
        out.emit((key_hash, line(what, sum.copied(), &map, context)));
    }
}

fn line(what: &str, sum: Option<i64>, map: &[(u8, i64)], context: &Context) -> String {
    let Context { event_time, watermark, processing_time } = context;
    format!("{what}: {sum:?} {map:?} {event_time:?} {watermark:?} {processing_time:?}")
}

impl OperatorState for Following {
    fn declarations<K: Key>() -> Vec<StateDeclaration> {
        Vec::new()
    }
    fn timers() -> &'static [TimerKind] {
        &TIMERS
    }
    fn side_outputs() -> &'static [&'static str] {
        &["side"]
    }
    fn bind<K: Key, B: StateBackend>(&mut self, binder: &mut StateBinder<'_, B>) -> Result<()> {
        self.sum.bind::<K, B>("sum", binder)?;
        self.callbacks.bind::<K, B>("callbacks", binder)?;
        self.map.bind::<K, B>("map", binder)?;
        self.first.bind::<K, B>("first", binder)?;
        self.second.bind::<K, B>("second", binder)?;
        self.tick.bind::<K, B>("tick", binder)
    }
    fn visit_states(&mut self, visitor: &mut dyn FnMut(&mut dyn KeyedState)) {
        visitor(self.sum.table());
        visitor(self.callbacks.table());
        visitor(self.map.table());
        visitor(self.first.table());
        visitor(self.second.table());
        visitor(self.tick.table());
    }
    fn timer(&mut self, timer: usize) -> &mut dyn TimerTable {
        match timer {
            0 => self.first.timers(),
            1 => self.second.timers(),
            _ => self.tick.timers(),
        }
    }
    fn select(&mut self, at: usize, time: EventTime) {
        self.sum.select(at);
        self.callbacks.select(at);
        self.map.select(at);
        self.first.select(at);
        self.second.select(at);
        self.tick.select(at);
        self.side.set_time(time);
    }
    fn bind_side_output(&mut self, _name: &str, downstream: Box<dyn Any + Send>) -> Result<()> {
        self.side.bind(downstream)
    }
    fn visit_side_outputs(&mut self, visitor: &mut dyn FnMut(&mut dyn SideLink) -> Result<()>) -> Result<()> {
        visitor(&mut self.side)
    }
}

impl<K: Key + Clone> ProcessFunction<K> for Following {
    type In = Ordered<K>;
    type Out = Line;

    fn process(
        &mut self,
        key: &K,
        record: Ordered<K>,
        context: &Context,
        out: &mut Output<Line>,
    ) -> Result<()> {
        let key_hash = key.key_hash();
        self.follow(key_hash, record.order);
        self.report(key_hash, "record", context, out);
        Ok(())
    }

    fn on_timer(&mut self, timer: usize, key: &K, context: &Context, out: &mut Output<Line>) -> Result<()> {
        let key_hash = key.key_hash();
        let callbacks = self.callbacks.get_or_insert_with(|| 0);
        *callbacks += 1;
        let around = around(context);
        if let Some(order) = Order::of_callback(key_hash, timer, context.event_time.0, *callbacks, around) {
            self.follow(key_hash, order);
        }
        self.report(key_hash, &format!("timer {timer}"), context, out);
        Ok(())
    }
}

/// The times around which a callback sets timers: of the event-time timers and of the processing-time timer.
fn around(context: &Context) -> [i64; 2] {
    [context.event_time.0, context.processing_time.0]
}

#[derive(Clone, Default)]
struct KeyModel {
    sum: Option<i64>,
    callbacks: i64,
    map: BTreeMap<u8, i64>,
    timers: [BTreeSet<i64>; 3],
}

#[derive(Clone)]
struct ProcessModel<K> {
    keys: BTreeMap<K, KeyModel>,
    watermark: i64,
    processing_time: i64,
    has_ended: bool,
}

impl<K: Key + Clone + Ord> ProcessModel<K> {
    fn follow(&mut self, key: &K, order: Order, time: i64, seen: &mut ByKey) {
        let state = self.keys.entry(key.clone()).or_default();
        match order {
            Order::Add(n) => state.sum = Some(state.sum.unwrap_or(100) + n),
            Order::Clear => state.sum = None,
            Order::Insert(map_key, n) => drop(state.map.insert(map_key, n)),
            Order::Remove(map_key) => drop(state.map.remove(&map_key)),
            Order::ClearMap => state.map.clear(),
            Order::SetTimer(timer, time) => drop(state.timers[timer].insert(time)),
            Order::DeleteTimer(timer, time) => drop(state.timers[timer].remove(&time)),
            Order::Side(n) => {
                let record: Line = (key.key_hash(), format!("side {n}"));
                seen.entry(format!("side {}", record.key())).or_default().push((format!("{record:?}"), time));
            }
        }
    }

    fn report(&mut self, key: &K, what: &str, event_time: i64, time: i64, seen: &mut ByKey) {
        let context = self.context(event_time);
        let state = self.keys.entry(key.clone()).or_default();
        let map: Vec<_> = state.map.iter().map(|(map_key, n)| (*map_key, *n)).collect();
        let record: Line = (key.key_hash(), line(what, state.sum, &map, &context));
        seen.entry(record.key()).or_default().push((format!("{record:?}"), time));
    }

    fn context(&self, event_time: i64) -> Context {
        Context {
            event_time: EventTime(event_time),
            watermark: Watermark(EventTime(self.watermark)),
            processing_time: ProcessingTime(self.processing_time),
        }
    }

    /// Fires the timers of these numbers, one after the other, key by key.
    fn fire(&mut self, timers: &[usize], until: i64, seen: &mut ByKey) {
        for key in self.keys.keys().cloned().collect::<Vec<_>>() {
            loop {
                let state = &self.keys[&key];
                let earliest = |timer: &usize| Some((*state.timers[*timer].first()?, *timer));
                let next = timers.iter().filter_map(earliest).min().filter(|(time, _)| *time <= until);
                let Some((time, timer)) = next else { break };
                let state = self.keys.get_mut(&key).unwrap();
                state.timers[timer].remove(&time);
                state.callbacks += 1;
                let emit_time = if timer == 2 { i64::MIN } else { time };
                let (callbacks, around) = (state.callbacks, around(&self.context(time)));
                if let Some(order) = Order::of_callback(key.key_hash(), timer, time, callbacks, around) {
                    self.follow(&key, order, emit_time, seen);
                }
                self.report(&key, &format!("timer {timer}"), time, emit_time, seen);
            }
        }
    }
}

impl<K: Key + Clone + Ord> Model for ProcessModel<K> {
    type In = Ordered<K>;

    fn on_event(&mut self, event: &Event<Ordered<K>>, seen: &mut ByKey) {
        match event {
            Event::Records(records) => {
                for (record, time) in records {
                    self.follow(&record.key, record.order, *time, seen);
                    self.report(&record.key, "record", *time, *time, seen);
                }
            }
            Event::Watermark(time) => {
                self.watermark = *time;
                self.fire(&[0, 1], *time, seen);
            }
            Event::Tick(time) => {
                self.processing_time = *time;
                if !self.has_ended {
                    self.fire(&[2], *time, seen);
                }
            }
            Event::End => self.has_ended = true,
        }
    }

    fn restore(&mut self) {
        (self.watermark, self.processing_time) = (i64::MIN, ProcessingTime::default().0);
    }
}

fn events<K: Key + Clone>(random: &mut Random, key: fn(u64) -> K) -> Vec<Event<Ordered<K>>> {
    let keys = *random.pick(&[1, 3, 20, 400]);
    let size = *random.pick(&[1, 10, 60]);
    let (mut watermark, mut now, mut events) = (random.between(-500, 500), 1000, Vec::new());
    for _ in 0..60 {
        events.push(match random.below(6) {
            0 => {
                watermark += random.between(0, 80);
                Event::Watermark(watermark)
            }
            1 => {
                now += random.between(0, 80);
                Event::Tick(now)
            }
            _ => {
                let records = (0..1 + random.below(size)).map(|_| {
                    let order = Order::random(random, [watermark, now]);
                    let record = Ordered { key: key(random.below(keys)), order };
                    let time = if random.one_in(10) { i64::MIN } else { watermark + random.between(-50, 50) };
                    (record, time)
                });
                Event::Records(records.collect())
            }
        });
    }
    // Nothing is due behind the end, whatever the clock says.
    events.extend([Event::Watermark(i64::MAX), Event::End, Event::Tick(now + 500)]);
    events
}

fn case<K: Key + Clone + Ord>(random: &mut Random, key: fn(u64) -> K) -> usize {
    let make = || {
        KeyedProcess::new(
            Following::default(),
            |record: &Ordered<K>| record.key.clone(),
            HeapBackend::new(SEED),
        )
    };
    let subtasks = Harnesses::<_, Line, _>::new(make, |record| record.key.key_hash(), Some("side"));
    let model =
        ProcessModel { keys: BTreeMap::new(), watermark: i64::MIN, processing_time: 0, has_ended: false };
    let events = events(random, key);
    let max_parallelism = max_parallelism(random);
    let parallelism_max = 1 + random.below(4);
    let saved = (0, Snapshot::default(), model.clone());
    Walk { random, max_parallelism, parallelism_max, subtasks, model, saved }.run(&events)
}

#[test]
fn keyed_processes_do_what_their_model_does() {
    for_each_seed(60, |random| match random.below(2) {
        0 => case(random, |n| n),
        _ => case(random, |n| format!("key {n}")),
    });
}
