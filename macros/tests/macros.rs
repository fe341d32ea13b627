//! Operators through `#[derive(Operator)]` and `#[operator]`, run as the engine runs them.

use flott::plumbing::{
    core::{
        Error, EventTime, Record, Result, Schema,
        operator::{Operator as _, Output, SideOutput},
        state::{EventTimer, MapState, ProcessingTimer, ValueState},
        testkit::{MapBackend, OperatorHarness, Seen, Step, side_target, verify},
    },
    operators::{
        function::{Context, OperatorState, ProcessFunction, TimerKind},
        keyed::KeyedProcess,
    },
};

const NO_TIME: i64 = i64::MIN;

/// A payment: card and cents.
type Payment = (u64, i64);

/// Raises an alert when a large payment follows a tiny one on the same card within a minute.
#[derive(flott::Operator)]
struct SmallThenLarge {
    #[state]
    armed: ValueState<EventTime>,
    #[timer]
    disarm: EventTimer,
    #[side_output]
    refused: SideOutput<u64>,
    #[state]
    days: MapState<u8, u64>,
    large_cents: i64,
    #[timer]
    report: ProcessingTimer,
    label: String,
}

#[flott::operator]
impl SmallThenLarge {
    fn process(
        &mut self,
        (card, cents): Payment,
        out: &mut Output<String>,
        context: &Context,
    ) -> Result<(), std::num::TryFromIntError> {
        let cents = u32::try_from(cents)?;
        let days = self.days.get(&1).copied().unwrap_or(0);
        self.days.insert(1, days + 1);
        match (cents, self.armed.get().copied()) {
            (0, _) => self.refused.emit(card),
            (1..=100, _) => self.arm(EventTime(context.event_time.0 + 60)),
            (_, Some(_)) if i64::from(cents) >= self.large_cents => {
                out.emit(format!("{} {card} {days}", self.label));
            }
            _ => {}
        }
        Ok(())
    }

    fn on_disarm(&mut self, key: &u64, out: &mut Output<String>, context: &Context) {
        self.armed.clear();
        out.emit(format!("disarmed {key} at {}", context.event_time));
    }

    fn on_report(&mut self) -> Result<()> {
        Err(Error::user("no report today"))
    }

    fn arm(&mut self, until: EventTime) {
        self.armed.set(until);
        self.disarm.set(until);
    }
}

fn keyed<F: ProcessFunction<u64, In = Payment>>(
    function: F,
) -> KeyedProcess<u64, F, fn(&Payment) -> u64, MapBackend> {
    KeyedProcess::new(function, |payment| payment.0, MapBackend)
}

fn operator() -> SmallThenLarge {
    SmallThenLarge::new(50_000, String::from("alert"))
}

#[test]
fn what_is_declared_is_known_before_the_job_runs() {
    let declared: Vec<_> =
        SmallThenLarge::declarations::<u64>().into_iter().map(|state| (state.name, state.schema)).collect();
    let of = |name: &str, schema| (String::from(name), schema);
    let map = Schema::Map(Box::new(Schema::primitive("u8")), Box::new(Schema::primitive("u64")));
    let expected = [
        of("armed", EventTime::schema()),
        of("disarm", Schema::primitive("EventTimer")),
        of("days", map),
        of("report", Schema::primitive("ProcessingTimer")),
    ];
    assert_eq!(declared, expected);
    assert_eq!(SmallThenLarge::timers(), [TimerKind::EventTime, TimerKind::ProcessingTime]);
    assert_eq!(SmallThenLarge::side_outputs(), ["refused"]);
}

#[test]
fn states_and_timers_belong_to_the_key_and_survive_snapshots() {
    let script = [
        Step::Records(vec![((1, 50), 10), ((2, 70_000), 11), ((1, 60_000), 12), ((1, 49_999), 13)]),
        Step::Watermark(69),
        Step::Records(vec![((1, 50_000), 69), ((2, 7), 65)]),
        Step::Watermark(70),
        Step::Records(vec![((1, 60_000), 71), ((2, 60_000), 80)]),
        Step::Watermark(i64::MAX),
    ];
    let seen: Vec<_> = verify(|| keyed(operator()), &script);
    let record = |text: &str, time| Seen::Record(String::from(text), time);
    let expected = [
        record("alert 1 1", 12),
        Seen::Watermark(69),
        record("alert 1 3", 69),
        record("disarmed 1 at 70", 70),
        Seen::Watermark(70),
        record("alert 2 2", 80),
        record("disarmed 2 at 125", 125),
        Seen::Watermark(i64::MAX),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn side_outputs_emit_with_the_time_of_the_record() {
    let mut operator = keyed(operator());
    let (target, refused) = side_target::<u64>();
    assert!(operator.bind_side_output("refsed", side_target::<u64>().0).is_err());
    assert!(operator.bind_side_output("refused", side_target::<u8>().0).is_err());
    operator.bind_side_output("refused", target).unwrap();
    let mut harness = OperatorHarness::new(operator).unwrap();
    harness.records([((7, 0), 4), ((8, 0), 5)]).unwrap();
    harness.watermark(5).unwrap();
    assert_eq!(refused.take(), [Seen::Record(7, 4), Seen::Record(8, 5), Seen::Watermark(5)]);
}

#[test]
fn errors_of_any_type_fail_the_task() {
    let mut harness = OperatorHarness::new(keyed(operator())).unwrap();
    let error = harness.records([((7, -1), 4)]).unwrap_err();
    assert!(error.to_string().contains("out of range"), "{error}");
}

#[test]
fn a_copy_has_the_parameters_and_states_of_its_own() {
    let first = operator();
    let mut harness = OperatorHarness::new(keyed(first.clone())).unwrap();
    harness.records([((1, 50), 10)]).unwrap();
    let mut other = OperatorHarness::new(keyed(first)).unwrap();
    other.records([((1, 60_000), 12)]).unwrap();
    assert!(other.take().is_empty());
}

/// Passes on what differs from the last record of its key; works on keys of every type.
#[derive(flott::Operator)]
struct Changes<T, F> {
    #[state]
    last: ValueState<T>,
    is_wanted: F,
}

#[flott::operator]
impl<T, F> Changes<T, F>
where
    T: Record + PartialEq,
    F: Fn(&T) -> bool,
{
    fn process(&mut self, record: T, out: &mut Output<T>) {
        if (self.is_wanted)(&record) && self.last.get() != Some(&record) {
            self.last.set(record.duplicate());
            out.emit(record);
        }
    }
}

#[test]
fn operators_may_be_generic() {
    let operator = Changes::new(|payment: &Payment| payment.1 > 0);
    let mut harness = OperatorHarness::new(keyed(operator)).unwrap();
    let payments = [(1, 5), (2, 5), (1, 5), (1, 0), (1, 6)];
    harness.records(payments.map(|payment| (payment, NO_TIME))).unwrap();
    harness.end().unwrap();
    let seen = harness.take().into_iter().filter_map(|seen| match seen {
        Seen::Record(payment, _) => Some(payment),
        _ => None,
    });
    assert_eq!(seen.collect::<Vec<_>>(), [(1, 5), (2, 5), (1, 6)]);
}
