use std::time::Duration;

use flott_cards::process::JobProcess;
use xtask::{
    clock::{Stopwatch, pause},
    processor::{TICKS_PER_SECOND, thread_ticks},
};

/// Asserts that a process settles down and then uses at most `share` of a core in every stretch of `window`, so many
/// times in turn. Otherwise it names the threads that were busy.
pub fn assert_quiet(process: &mut JobProcess, share: f64, window: Duration, windows: usize) {
    let mut unrest = None;
    // What was under way may be finished first.
    for _ in 0..3 {
        unrest = busier_than(process, share, window);
        if unrest.is_none() {
            break;
        }
    }
    for _ in 0..windows {
        unrest = unrest.or_else(|| busier_than(process, share, window));
    }
    if let Some(unrest) = unrest {
        panic!("{}", process.failure(&unrest));
    }
}

/// Says which threads were busy if the process used more than `share` of a core.
fn busier_than(process: &mut JobProcess, share: f64, window: Duration) -> Option<String> {
    let (before, watch) = (thread_ticks(process.id()), Stopwatch::start());
    pause(window);
    let (after, elapsed) = (thread_ticks(process.id()), watch.elapsed().as_secs_f64());
    assert!(process.is_running(), "{}", process.failure("has ended"));
    let used = |(thread, ticks): (&(String, u64), &u64)| {
        let used = ticks.saturating_sub(before.get(thread).copied().unwrap_or(0));
        (used as f64 / TICKS_PER_SECOND / elapsed, thread.0.clone())
    };
    let mut shares: Vec<_> = after.iter().map(used).collect();
    let sum: f64 = shares.iter().map(|(share, _)| share).sum();
    shares.sort_by(|a, b| b.0.total_cmp(&a.0));
    shares.truncate(6);
    let text = format!("uses {sum:.3} of a core: {shares:.3?}");
    println!("{} {text}", process.name());
    (sum > share).then_some(text)
}
