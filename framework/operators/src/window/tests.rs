use std::{sync::atomic::Ordering, time::Duration};

use flott_core::{
    EventTime, Result, Signal, Watermark,
    operator::{Downstream, Operator},
    testkit::{MapBackend, OperatorHarness, Seen, Step, side_target, verify},
};

use super::*;

type Bid = (u32, u64);

fn seconds(seconds: u64) -> TumblingWindows {
    TumblingWindows::of(Duration::from_secs(seconds))
}

fn counts(windows: TumblingWindows) -> impl Operator<In = Bid, Out = (u32, Window, u64)> {
    WindowOperator::new(windows, Count, |bid: &Bid| bid.0, MapBackend)
}

fn bids(bids: &[(u32, i64)]) -> Step<Bid> {
    Step::Records(bids.iter().map(|(key, time)| ((*key, 1), *time)).collect())
}

fn count(key: u32, start: i64, count: u64) -> Seen<(u32, Window, u64)> {
    let window = Window { start: EventTime(start), end: EventTime(start + 1000) };
    Seen::Record((key, window, count), start + 999)
}

#[test]
fn windows_fire_in_order_when_the_watermark_reaches_their_last_millisecond() {
    let script = [
        bids(&[(1, 0), (2, 999), (1, 1000), (1, 5), (1, 2500), (2, 1), (1, -1)]),
        Step::Watermark(998),
        bids(&[(1, 998)]),
        Step::Watermark(999),
        Step::Watermark(1998),
        Step::Watermark(3000),
        bids(&[(3, 4000)]),
        Step::Watermark(i64::MAX),
        Step::End,
    ];
    let expected = [
        count(1, -1000, 1),
        Seen::Watermark(998),
        count(1, 0, 3),
        count(2, 0, 2),
        Seen::Watermark(999),
        Seen::Watermark(1998),
        count(1, 1000, 1),
        count(1, 2000, 1),
        Seen::Watermark(3000),
        count(3, 4000, 1),
        Seen::Watermark(i64::MAX),
        Seen::End,
    ];
    assert_eq!(verify(|| counts(seconds(1)), &script), expected);
}

#[test]
fn windows_can_be_offset() {
    let windows = seconds(1).offset(Duration::from_millis(300));
    let script = [bids(&[(1, 0), (1, 299), (1, 300), (1, 1299), (1, -701)]), Step::Watermark(5000)];
    let expected = [count(1, -1700, 1), count(1, -700, 2), count(1, 300, 2), Seen::Watermark(5000)];
    assert_eq!(verify(|| counts(windows), &script), expected);
}

#[test]
fn the_first_and_the_last_window_end_where_event_time_does() {
    const MIN: i64 = i64::MIN + 1;
    const MAX: i64 = i64::MAX;
    let script = [
        bids(&[(1, MAX), (1, MAX - 1), (1, MIN), (1, MAX), (1, MIN + 1), (1, MIN)]),
        Step::Watermark(0),
        Step::Watermark(MAX - 1),
        bids(&[(1, MAX)]),
        Step::Watermark(MAX),
        Step::End,
    ];
    for (windows, first_end, last_start) in [
        (seconds(1), -9_223_372_036_854_775_000, 9_223_372_036_854_775_000),
        (
            seconds(1).offset(Duration::from_millis(300)),
            -9_223_372_036_854_775_700,
            9_223_372_036_854_775_300,
        ),
        // A window of one millisecond ends right where event time does.
        (TumblingWindows::of(Duration::from_millis(1)), 0, MAX - 1),
    ] {
        let seen = verify(|| counts(windows), &script);
        let last = Window { start: EventTime(last_start), end: EventTime::MAX };
        let behind = [
            Seen::Watermark(0),
            Seen::Watermark(MAX - 1),
            Seen::Record((1, last, 4), MAX),
            Seen::Watermark(MAX),
            Seen::End,
        ];
        let first = Window { start: EventTime::MIN, end: EventTime(first_end) };
        let before = if first_end == 0 {
            let one = |time| Window { start: EventTime(time), end: EventTime(time + 1) };
            vec![Seen::Record((1, one(MIN), 2), MIN), Seen::Record((1, one(MIN + 1), 1), MIN + 1)]
        } else {
            vec![Seen::Record((1, first, 3), first_end - 1)]
        };
        assert_eq!(seen, [before, behind.to_vec()].concat());
    }
}

#[test]
fn aggregates_see_key_window_and_records() {
    let script = || [Step::Records(vec![((1, 5), 10), ((1, 6), 20), ((2, 7), 1500)]), Step::Watermark(1999)];
    let sum = || WindowOperator::new(seconds(1), Sum::of(|bid: &Bid| bid.1), |bid: &Bid| bid.0, MapBackend);
    assert_eq!(verify(sum, &script()), [count(1, 0, 11), count(2, 1000, 7), Seen::Watermark(1999)]);
    let prices = Fold::new(
        Vec::new,
        |prices: &mut Vec<u64>, bid: &Bid| prices.push(bid.1),
        |key: &u32, window: Window, prices| (*key, window.start, prices),
    );
    let fold = || WindowOperator::new(seconds(1), prices.clone(), |bid: &Bid| bid.0, MapBackend);
    let expected = [
        Seen::Record((1, EventTime(0), vec![5, 6]), 999),
        Seen::Record((2, EventTime(1000), vec![7]), 1999),
        Seen::Watermark(1999),
    ];
    assert_eq!(verify(fold, &script()), expected);
}

#[test]
fn late_records_are_counted_or_go_to_their_side_output() {
    let late = [(1, 999), (2, 500), (1, 1000)].map(|(key, time)| ((key, 1), time));
    let mut harness = OperatorHarness::new(counts(seconds(1))).unwrap();
    harness.watermark(999).unwrap();
    harness.records(late).unwrap();
    assert_eq!(harness.metrics().records_dropped.load(Ordering::Relaxed), 2);

    let mut operator = counts(seconds(1));
    let (target, side) = side_target::<Bid>();
    operator.bind_side_output(LATE, target).unwrap();
    let mut harness = OperatorHarness::new(operator).unwrap();
    harness.watermark(999).unwrap();
    harness.records(late).unwrap();
    assert_eq!(side.take(), [Seen::Watermark(999), Seen::Record((1, 1), 999), Seen::Record((2, 1), 500)]);
    assert_eq!(harness.metrics().records_dropped.load(Ordering::Relaxed), 0);
    harness.watermark(1999).unwrap();
    assert_eq!(harness.take(), [Seen::Watermark(999), count(1, 1000, 1), Seen::Watermark(1999)]);
    let (target, _) = side_target::<Bid>();
    assert!(counts(seconds(1)).bind_side_output("other", target).is_err());
}

#[test]
fn within_the_allowed_lateness_each_late_record_fires_its_window_again() {
    let windows = seconds(1).allowed_lateness(Duration::from_millis(500));
    let script = [
        bids(&[(1, 0), (1, 1), (2, 2)]),
        Step::Watermark(1000),
        bids(&[(1, 3), (1, 4), (3, 5), (1, 1100)]),
        Step::Watermark(1498),
        bids(&[(3, 6)]),
        Step::Watermark(1499),
        bids(&[(3, 7), (1, 1200)]),
        Step::Watermark(3000),
    ];
    let expected = [
        count(1, 0, 2),
        count(2, 0, 1),
        Seen::Watermark(1000),
        count(1, 0, 3),
        count(1, 0, 4),
        count(3, 0, 1),
        Seen::Watermark(1498),
        count(3, 0, 2),
        Seen::Watermark(1499),
        count(1, 1000, 2),
        Seen::Watermark(3000),
    ];
    assert_eq!(verify(|| counts(windows), &script), expected);
}

#[test]
fn a_window_that_fired_before_a_restore_goes_on_from_its_result() -> Result<()> {
    let windows = seconds(1).allowed_lateness(Duration::from_secs(1));
    let mut harness = OperatorHarness::new(counts(windows))?;
    harness.records([((1, 1), 0), ((1, 1), 1)])?;
    harness.watermark(1000)?;
    assert_eq!(harness.take(), [count(1, 0, 2), Seen::Watermark(1000)]);
    // The watermark starts again: key 1 has fired, key 2 has not.
    let mut harness = OperatorHarness::with_state(counts(windows), harness.snapshot()?)?;
    harness.records([((1, 1), 2), ((2, 1), 3)])?;
    assert_eq!(harness.take(), [count(1, 0, 3)]);
    harness.watermark(1000)?;
    assert_eq!(harness.take(), [count(2, 0, 1), Seen::Watermark(1000)]);
    harness.records([((2, 1), 3)])?;
    harness.watermark(1999)?;
    assert_eq!(harness.take(), [count(2, 0, 2), Seen::Watermark(1999)]);
    assert!(harness.snapshot()?.keyed.values().all(|state| state.groups.is_empty()));
    Ok(())
}

#[test]
fn windows_of_another_size_do_not_take_what_is_restored() {
    let restored = |before: TumblingWindows, after: TumblingWindows| {
        let mut harness = OperatorHarness::new(counts(before)).unwrap();
        harness.records([((1, 1), 0)]).unwrap();
        OperatorHarness::with_state(counts(after), harness.snapshot().unwrap())
    };
    let offset = seconds(1).offset(Duration::from_millis(300));
    for (before, after) in [(seconds(1), seconds(2)), (seconds(1), offset), (offset, seconds(1))] {
        let error = restored(before, after).err().expect("the state is refused");
        assert_eq!(error.kind(), flott_core::ErrorKind::State);
        assert!(error.to_string().contains("windows of 1000 ms"), "{error}");
    }
    let late = seconds(1).allowed_lateness(Duration::from_secs(1));
    for (before, after) in [(seconds(1), late), (late, seconds(1))] {
        restored(before, after).unwrap().watermark(5000).unwrap();
    }
}

#[test]
fn windows_kept_for_late_records_are_forgotten_when_lateness_is_allowed_no_more() -> Result<()> {
    let mut harness = OperatorHarness::new(counts(seconds(1).allowed_lateness(Duration::from_secs(1))))?;
    harness.records([((1, 1), 0)])?;
    harness.watermark(1000)?;
    let mut harness = OperatorHarness::with_state(counts(seconds(1)), harness.snapshot()?)?;
    harness.watermark(1000)?;
    assert_eq!(harness.take(), [Seen::Watermark(1000)]);
    assert!(harness.snapshot()?.keyed.values().all(|state| state.groups.is_empty()));
    Ok(())
}

#[test]
fn many_windows_fire_in_order_and_in_batches() {
    let all: Vec<_> = (0..5000).map(|n| (n % 7, i64::from(n) * 10)).collect();
    let seen = verify(|| counts(seconds(1)), &[bids(&all), Step::Watermark(i64::MAX)]);
    let starts = seen.iter().filter_map(|seen| match seen {
        Seen::Record((key, window, count), time) => {
            assert_eq!((*time, *count / 14), (window.max_time().0, 1));
            Some((window.start, *key))
        }
        _ => None,
    });
    assert!(starts.eq((0..50).flat_map(|window| (0..7).map(move |key| (EventTime(window * 1000), key)))));
}

#[test]
fn a_watermark_that_fires_much_is_worked_off_bit_by_bit_before_anything_else() {
    let keys = 10_000;
    let fill = || {
        let mut harness = OperatorHarness::new(counts(seconds(1))).unwrap();
        harness.records((0..keys).map(|key| ((key, 1), i64::from(key % 2) * 1000))).unwrap();
        harness
    };
    let mut harness = fill();
    harness.watermark(5000).unwrap();
    let whole = harness.take();
    assert_eq!((whole.len(), whole.last()), (keys as usize + 1, Some(&Seen::Watermark(5000))));

    let watermark = Signal::Watermark(Watermark(EventTime(5000)));
    let mut harness = fill();
    harness.link().signal(watermark).unwrap();
    let mut seen = harness.take();
    for _ in 0..9 {
        assert!(!seen.contains(&Seen::Watermark(5000)), "{}", seen.len());
        harness.link().resume().unwrap();
        let bit = harness.take();
        assert!((1..2000).contains(&bit.len()), "{}", bit.len());
        seen.extend(bit);
    }
    assert_eq!(seen, whole);
    assert!(harness.link().resume().unwrap());

    // Whoever does not ask first gets all the rest at once: a barrier never comes in between.
    let mut harness = fill();
    harness.link().signal(watermark).unwrap();
    let state = harness.snapshot().unwrap();
    assert_eq!(harness.take(), [whole, vec![Seen::Barrier(1)]].concat());
    assert!(state.keyed.values().all(|state| state.groups.is_empty()));
}

#[test]
fn a_record_without_event_time_is_refused() {
    let mut harness = OperatorHarness::new(counts(seconds(1))).unwrap();
    let error = harness.records([((1, 1), i64::MIN)]).unwrap_err();
    assert!(error.to_string().contains("without event time"), "{error}");
    assert_eq!(error.kind(), flott_core::ErrorKind::User);
}

#[test]
fn sizes_and_offsets_are_checked() {
    for bad in
        [seconds(0), TumblingWindows::of(Duration::from_nanos(9)), seconds(1).offset(Duration::from_secs(1))]
    {
        let error = OperatorHarness::new(counts(bad)).err().expect("the windows are refused");
        assert_eq!(error.kind(), flott_core::ErrorKind::Settings);
    }
}
