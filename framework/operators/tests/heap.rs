//! The operators on the heap backend give what they give on plain maps, with a restore in the middle.

use std::time::Duration;

use flott_core::{
    Result,
    hash::HashSeed,
    operator::Operator,
    testkit::{MapBackend, OperatorHarness, Seen},
};
use flott_operators::{
    reduce::KeyedReduce,
    window::{Count, TumblingWindows, WindowOperator},
};
use flott_state::heap::HeapBackend;

/// The hash seed of the tables.
const SEED: HashSeed = HashSeed::new(0x5EED, 0xFAC7);

type Record = (u32, u64);

/// Feeds an operator 20 000 records in disorder, with watermarks, and restores it half way. Keys within one window fire
/// in any order, so what comes between two watermarks is sorted.
fn run<O: Operator<In = Record>>(make: impl Fn() -> O) -> Result<Vec<Vec<Seen<O::Out>>>>
where
    O::Out: Ord,
{
    let mut harness = OperatorHarness::new(make())?;
    let mut seen = Vec::new();
    for batch in 0..200u64 {
        let records = (batch * 100..batch * 100 + 100).map(|n| {
            let key = (flott_core::hash::word(n) % 700) as u32;
            ((key, n), n as i64 - (n % 37) as i64 * 3)
        });
        harness.records(records)?;
        harness.watermark((batch * 100) as i64 - 150)?;
        let mut now_seen = harness.take();
        now_seen.sort();
        seen.push(now_seen);
        if batch == 100 {
            let restored = harness.snapshot()?;
            harness = OperatorHarness::with_state(make(), restored)?;
        }
    }
    Ok(seen)
}

#[test]
fn reductions_agree() -> Result<()> {
    let sum = |sum: &mut Record, record: Record| sum.1 += record.1;
    let heap = run(|| KeyedReduce::new(sum, |record| record.0, HeapBackend::new(SEED)))?;
    assert!(heap == run(|| KeyedReduce::new(sum, |record| record.0, MapBackend))?);
    assert_eq!(heap.iter().flatten().count(), 20_000 + 200);
    Ok(())
}

#[test]
fn windows_agree() -> Result<()> {
    for lateness in [Duration::ZERO, Duration::from_millis(300)] {
        let windows = TumblingWindows::of(Duration::from_millis(250)).allowed_lateness(lateness);
        let heap =
            run(|| WindowOperator::new(windows, Count, |record: &Record| record.0, HeapBackend::new(SEED)))?;
        let map = run(|| WindowOperator::new(windows, Count, |record: &Record| record.0, MapBackend))?;
        assert!(heap == map);
        assert!(heap.iter().flatten().count() > 10_000);
    }
    Ok(())
}
