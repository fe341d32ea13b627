use std::any::Any;

use flott_core::{
    EventTime, ProcessingTime, Result, Signal, Watermark,
    operator::{Downstream, Operator, Output, SideLink, SideOutput, StepTime, TaskEvent},
    state::{
        EventTimer, KeyedState, ProcessingTimer, StateBackend, StateBinder, StateDeclaration, StateHandle,
        TimerTable, ValueState,
    },
    testkit::{MapBackend, OperatorHarness, Seen, Step, side_target, verify},
};

use super::KeyedProcess;
use crate::function::{Context, OperatorState, ProcessFunction, TimerKind};

/// What a record tells [`Scripted`] to do.
#[derive(Clone, Copy)]
enum Order {
    Add(u64),
    SetTimer(usize, i64),
    DeleteTimer(usize, i64),
    Side(u64),
}
use Order::{Add, DeleteTimer, SetTimer, Side};

type Record = (u32, (u8, u64, i64));

fn order(key: u32, order: Order) -> Record {
    let numbers = match order {
        Add(n) => (0, n, 0),
        SetTimer(timer, time) => (1, timer as u64, time),
        DeleteTimer(timer, time) => (2, timer as u64, time),
        Side(n) => (3, n, 0),
    };
    (key, numbers)
}

/// Adds up, and does what records and timers say. Timers 0 and 1 are event-time timers, 2 is a processing-time timer.
#[derive(Default)]
struct Scripted {
    sum: ValueState<u64>,
    first: EventTimer,
    second: EventTimer,
    tick: ProcessingTimer,
    side: SideOutput<u64>,
    /// What the callback at a time does.
    on_timer: Vec<(i64, Order)>,
}

impl Scripted {
    fn follow(&mut self, numbers: (u8, u64, i64)) -> Option<u64> {
        match numbers {
            (0, n, _) => {
                let sum = self.sum.get_or_insert_with(|| 0);
                *sum += n;
                return Some(*sum);
            }
            (1, 0, time) => self.first.set(EventTime(time)),
            (1, 1, time) => self.second.set(EventTime(time)),
            (1, _, time) => self.tick.set(ProcessingTime(time)),
            (2, 0, time) => drop(self.first.delete(EventTime(time))),
            (2, _, time) => drop(self.second.delete(EventTime(time))),
            (_, n, _) => self.side.emit(n),
        }
        None
    }
}

impl OperatorState for Scripted {
    fn declarations<K: flott_core::Key>() -> Vec<StateDeclaration> {
        let timer = EventTimer::declaration::<K>;
        vec![ValueState::<u64>::declaration::<K>("sum"), timer("first"), timer("second")]
    }
    fn timers() -> &'static [TimerKind] {
        &[TimerKind::EventTime, TimerKind::EventTime, TimerKind::ProcessingTime]
    }
    fn side_outputs() -> &'static [&'static str] {
        &["side"]
    }
    fn bind<K: flott_core::Key, B: StateBackend>(&mut self, binder: &mut StateBinder<'_, B>) -> Result<()> {
        self.sum.bind::<K, B>("sum", binder)?;
        self.first.bind::<K, B>("first", binder)?;
        self.second.bind::<K, B>("second", binder)?;
        self.tick.bind::<K, B>("tick", binder)
    }
    fn visit_states(&mut self, visitor: &mut dyn FnMut(&mut dyn KeyedState)) {
        visitor(self.sum.table());
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

impl ProcessFunction<u32> for Scripted {
    type In = Record;
    type Out = String;

    fn process(&mut self, key: &u32, record: Record, _: &Context, out: &mut Output<String>) -> Result<()> {
        if let Some(sum) = self.follow(record.1) {
            out.emit(format!("{key}={sum}"));
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: usize,
        key: &u32,
        context: &Context,
        out: &mut Output<String>,
    ) -> Result<()> {
        let sum = self.sum.get().copied().unwrap_or(0);
        let Watermark(EventTime(watermark)) = context.watermark;
        let time = context.event_time;
        out.emit(format!("{key}={sum} timer {timer} at {time}, watermark {watermark}"));
        for (_, next) in self.on_timer.clone().into_iter().filter(|(at, _)| *at == time.0) {
            self.follow(order(*key, next).1);
        }
        Ok(())
    }
}

fn scripted(on_timer: &[(i64, Order)]) -> impl Operator<In = Record, Out = String> + use<> {
    let function = Scripted { on_timer: on_timer.to_vec(), ..Scripted::default() };
    KeyedProcess::new(function, |record: &Record| record.0, MapBackend)
}

fn records(orders: &[(u32, Order)]) -> Step<Record> {
    Step::Records(orders.iter().map(|(key, of)| (order(*key, *of), 1)).collect())
}

fn emitted(text: &str, time: i64) -> Seen<String> {
    Seen::Record(text.into(), time)
}

#[test]
fn each_key_has_its_own_state() {
    let many: Vec<_> = (0..300).map(|n| (n % 2, Add(1))).collect();
    let seen = verify(|| scripted(&[]), &[records(&many), records(&[(0, Add(5)), (1, Add(6))]), Step::End]);
    assert_eq!(seen[0], emitted("0=1", 1));
    assert_eq!(seen[299], emitted("1=150", 1));
    assert_eq!(seen[300..], [emitted("0=155", 1), emitted("1=156", 1), Seen::End]);
}

#[test]
fn timers_fire_in_order_of_time_before_the_watermark_is_passed_on() {
    let timers = [
        (7, SetTimer(0, 30)),
        (8, SetTimer(1, 20)),
        (7, SetTimer(0, 10)),
        (7, SetTimer(0, 10)),
        (9, SetTimer(0, 40)),
        (8, SetTimer(1, 30)),
    ];
    let script = [records(&timers), Step::Watermark(9), Step::Watermark(30), Step::Watermark(i64::MAX)];
    let seen = verify(|| scripted(&[]), &script);
    let expected = [
        Seen::Watermark(9),
        emitted("7=0 timer 0 at 10, watermark 30", 10),
        emitted("8=0 timer 1 at 20, watermark 30", 20),
        emitted("7=0 timer 0 at 30, watermark 30", 30),
        emitted("8=0 timer 1 at 30, watermark 30", 30),
        Seen::Watermark(30),
        emitted("9=0 timer 0 at 40, watermark 9223372036854775807", 40),
        Seen::Watermark(i64::MAX),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_timer_deleted_by_a_record_or_by_an_earlier_callback_does_not_fire() {
    let timers = [
        (7, SetTimer(0, 10)),
        (7, SetTimer(0, 20)),
        (7, SetTimer(1, 30)),
        (7, SetTimer(0, 40)),
        (7, DeleteTimer(0, 40)),
    ];
    let on_timer = [(10, DeleteTimer(0, 20)), (10, DeleteTimer(1, 30)), (10, Add(3))];
    let seen =
        verify(|| scripted(&on_timer), &[records(&timers), Step::Watermark(50), records(&[(7, Add(1))])]);
    let first = emitted("7=0 timer 0 at 10, watermark 50", 10);
    assert_eq!(seen, [first, Seen::Watermark(50), emitted("7=4", 1)]);
}

#[test]
fn a_callback_can_set_a_timer_that_fires_in_between() {
    let timers = [(7, SetTimer(0, 10)), (7, SetTimer(0, 30)), (8, SetTimer(0, 30))];
    // At 10 one is set between the timers that are due, one that has passed already, and one that is not due.
    let on_timer =
        [(10, SetTimer(0, 20)), (10, SetTimer(1, 5)), (10, SetTimer(0, 90)), (20, SetTimer(0, 30))];
    let seen = verify(|| scripted(&on_timer), &[records(&timers), Step::Watermark(30)]);
    let at = |key: u32, timer: usize, time: i64| {
        emitted(&format!("{key}=0 timer {timer} at {time}, watermark 30"), time)
    };
    let expected = [at(7, 0, 10), at(7, 1, 5), at(7, 0, 20), at(7, 0, 30), at(8, 0, 30), Seen::Watermark(30)];
    assert_eq!(seen, expected);
}

#[test]
fn any_number_of_timers_fires_in_one_go() {
    let timers: Vec<_> = (0..1000).map(|n| (n % 10, SetTimer(0, i64::from(n)))).collect();
    let seen = verify(|| scripted(&[]), &[records(&timers), Step::Watermark(1000)]);
    let times = seen.iter().filter_map(|seen| match seen {
        Seen::Record(_, time) => Some(*time),
        _ => None,
    });
    assert!(times.eq(0..1000));
}

/// What an operator with 1000 timers of a number emits at once when they become due, and then each time there is room.
fn fired(timer: usize, make_due: impl Fn(&mut dyn Downstream<Record>)) -> Vec<usize> {
    let mut harness = OperatorHarness::new(scripted(&[])).unwrap();
    harness.tick(1).unwrap();
    harness.records((0..1000).map(|n| (order(n % 10, SetTimer(timer, 100 + i64::from(n))), 0))).unwrap();
    make_due(harness.link());
    let mut counts = vec![harness.take().len()];
    loop {
        let is_done = harness.link().resume().unwrap();
        counts.push(harness.take().len());
        if is_done {
            return counts;
        }
    }
}

#[test]
fn many_timers_fire_bit_by_bit_and_the_watermark_follows_them() {
    let watermark = Signal::Watermark(Watermark(EventTime(5000)));
    assert_eq!(fired(0, |link| link.signal(watermark).unwrap()), [256, 256, 256, 232 + 1]);
}

#[test]
fn processing_time_timers_wait_for_room() {
    let time = StepTime { processing_time: ProcessingTime(5000), ..StepTime::default() };
    let tick = |link: &mut dyn Downstream<Record>| {
        link.event(TaskEvent::Tick(time), &mut Vec::new()).unwrap();
        assert_eq!(link.next_timer(), Some(ProcessingTime(100)), "what is due stays due");
    };
    assert_eq!(fired(2, tick), [0, 256, 256, 256, 232]);
}

#[test]
fn processing_time_timers_fire_on_ticks_and_emit_without_event_time() {
    let timers = [(7, SetTimer(2, 100)), (8, SetTimer(2, 50))];
    let script = [
        Step::Tick(1),
        records(&timers),
        Step::Tick(49),
        Step::Tick(99),
        Step::Tick(100),
        Step::Watermark(i64::MAX),
        Step::End,
    ];
    let expected = [
        emitted("8=0 timer 2 at 50, watermark -9223372036854775808", i64::MIN),
        emitted("7=0 timer 2 at 100, watermark -9223372036854775808", i64::MIN),
        Seen::Watermark(i64::MAX),
        Seen::End,
    ];
    assert_eq!(verify(|| scripted(&[]), &script), expected);
}

#[test]
fn processing_time_timers_that_are_not_due_at_the_end_never_fire() {
    let mut harness = OperatorHarness::new(scripted(&[])).unwrap();
    harness.tick(1).unwrap();
    harness.records([(order(7, SetTimer(2, 100)), 0), (order(7, SetTimer(0, 50)), 0)]).unwrap();
    harness.watermark(i64::MAX).unwrap();
    harness.end().unwrap();
    let before = harness.take();
    assert_eq!(before.last(), Some(&Seen::End));
    assert_eq!(Downstream::next_timer(harness.link()), None);
    harness.tick(100).unwrap();
    assert_eq!(harness.take(), []);
}

#[test]
fn the_next_processing_time_timer_is_known_also_after_a_restore() {
    let mut harness = OperatorHarness::new(scripted(&[])).unwrap();
    let next = |harness: &mut OperatorHarness<_>| Downstream::next_timer(harness.link()).map(|time| time.0);
    assert_eq!(next(&mut harness), None);
    harness.records([(order(7, SetTimer(2, 100)), 0), (order(8, SetTimer(2, 50)), 0)]).unwrap();
    assert_eq!(next(&mut harness), Some(50));
    harness.tick(50).unwrap();
    assert_eq!(next(&mut harness), Some(100));
    let state = harness.snapshot().unwrap();
    let mut restored = OperatorHarness::with_state(scripted(&[]), state).unwrap();
    assert_eq!(next(&mut restored), Some(100));
}

#[test]
fn restored_state_that_is_not_declared_any_more_is_refused() {
    let mut harness = OperatorHarness::new(scripted(&[])).unwrap();
    harness.records([(order(7, Add(1)), 0)]).unwrap();
    let mut state = harness.snapshot().unwrap();
    let sum = state.keyed.remove("sum").unwrap();
    state.keyed.insert("total".into(), sum);
    let error = OperatorHarness::with_state(scripted(&[]), state).err().expect("the state is refused");
    assert_eq!(error.kind(), flott_core::ErrorKind::State);
    assert!(error.to_string().contains("entries of \"total\""), "{error}");
}

#[test]
fn side_outputs_get_records_and_signals() {
    let mut operator = scripted(&[(10, Side(2))]);
    let (target, side) = side_target::<u64>();
    operator.bind_side_output("side", target).unwrap();
    let mut harness = OperatorHarness::new(operator).unwrap();
    harness.records([(order(7, Side(1)), 4), (order(7, SetTimer(0, 10)), 5)]).unwrap();
    harness.watermark(10).unwrap();
    assert_eq!(side.take(), [Seen::Record(1, 4), Seen::Record(2, 10), Seen::Watermark(10)]);
}
