use flott_core::{
    BATCH_RECORDS_MAX, Error,
    testkit::{OperatorHarness, Seen, Step, verify},
};

use super::*;

const NONE: i64 = i64::MIN;

fn all<C: Transform<In = u64, Out: std::fmt::Debug + PartialEq>>(
    transform: C,
    records: Vec<(u64, i64)>,
) -> Vec<(C::Out, i64)> {
    let script = [Step::Records(records)];
    let seen = verify(|| FusedOperator::new(transform.clone()), &script);
    let records = seen.into_iter().map(|seen| match seen {
        Seen::Record(record, time) => (record, time),
        _ => panic!("only records were given"),
    });
    records.collect()
}

#[test]
fn records_pass_in_order_with_their_times() {
    let timed = || vec![(1, 10), (2, 20), (3, 30), (4, 40)];
    let untimed = || vec![(1, NONE), (2, NONE), (3, NONE)];
    let start = Identity::<u64>::new;
    assert_eq!(all(start(), timed()), timed());
    assert_eq!(all(start().filter(|n| n % 2 == 0), timed()), [(2, 20), (4, 40)]);
    assert_eq!(all(start().filter(|n| n % 2 == 1), untimed()), [(1, NONE), (3, NONE)]);
    assert_eq!(all(start().filter(|n| *n > 2).map(|n| n * 2), timed()), [(6, 30), (8, 40)]);
    // A result of another size than its record.
    assert_eq!(all(start().map(|n| n as u8).filter(|n| *n < 3), timed()), [(1, 10), (2, 20)]);
    let words = start().map(|n| "x".repeat(n as usize)).filter(|text| text.len() != 2);
    assert_eq!(all(words, untimed()), [("x".into(), NONE), ("xxx".into(), NONE)]);
    let halves = start().flat_map(|n| [n, n + 100].into_iter().take(n as usize)).filter(|n| *n != 2);
    assert_eq!(all(halves, timed()), [(1, 10), (102, 20), (3, 30), (103, 30), (4, 40), (104, 40)]);
}

#[test]
fn a_batch_that_grows_is_passed_on_in_parts() {
    let operator = FusedOperator::new(Identity::<u64>::new().flat_map(|n| 0..n));
    let mut harness = OperatorHarness::new(operator).unwrap();
    let count = 3 * BATCH_RECORDS_MAX as u64;
    harness.records([(count, 7)]).unwrap();
    let expected = (0..count).map(|n| Seen::Record(n, 7));
    assert!(harness.take().into_iter().eq(expected));
}

#[test]
fn inspected_records_stay_as_they_are() {
    let (seen, looked_at) = std::sync::mpsc::channel();
    let look = move |n: &u64| seen.send(*n).expect("the test listens");
    let operator = FusedOperator::new(Identity::new().filter(|n| n % 2 == 0).inspect(look));
    let mut harness = OperatorHarness::new(operator).unwrap();
    harness.records([(1, 1), (2, 2), (4, 4)]).unwrap();
    assert_eq!(harness.take(), [Seen::Record(2, 2), Seen::Record(4, 4)]);
    assert!(looked_at.try_iter().eq([2, 4]));
}

#[test]
fn a_failure_names_the_operator_and_stops_the_closures() {
    fn checked(n: u64) -> flott_core::Result<u64> {
        if n == 3 { Err(Error::user("three")) } else { Ok(n) }
    }
    fn fails(transform: impl Transform<In = u64>) {
        for time in [NONE, 5] {
            let mut harness = OperatorHarness::new(FusedOperator::new(transform.clone())).unwrap();
            let error = harness.records((1..6).map(|n| (n, time))).unwrap_err();
            assert_eq!(error.to_string(), "operator \"tested\", subtask 0: three");
        }
    }
    let at_most_three = |n: &u64| assert!(*n < 3, "not called after a failure");
    let start = Identity::<u64>::new;
    fails(start().try_map(checked).inspect(at_most_three));
    fails(start().try_filter(|n| checked(*n).map(|n| n > 1)).inspect(at_most_three));
    fails(start().try_flat_map(|n| checked(n).map(Some)).inspect(at_most_three));
}

#[test]
fn subtasks_do_not_share_what_a_closure_has_captured() {
    let mut count = 0;
    let numbered = Identity::<u64>::new().map(move |n| {
        count += 1;
        (n, count)
    });
    for _subtask in 0..2 {
        let mut harness = OperatorHarness::new(FusedOperator::new(numbered.clone())).unwrap();
        harness.records([(7, NONE), (8, NONE)]).unwrap();
        assert_eq!(harness.take(), [Seen::Record((7, 1), NONE), Seen::Record((8, 2), NONE)]);
    }
}
