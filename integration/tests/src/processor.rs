use std::{collections::BTreeMap, fs, time::Duration};

use flott_cards::process::JobProcess;
use xtask::clock::{Stopwatch, pause};

/// The kernel counts processor time in ticks of 10 ms.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time that each thread of a process has used, in ticks, by name and id.
type ThreadTicks = BTreeMap<(String, u64), u64>;

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
    let (before, watch) = (threads(process), Stopwatch::start());
    pause(window);
    let (after, elapsed) = (threads(process), watch.elapsed().as_secs_f64());
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

fn threads(process: &JobProcess) -> ThreadTicks {
    let entries = fs::read_dir(format!("/proc/{}/task", process.id())).into_iter().flatten().flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter_map(|stat| parse(&stat)).collect()
}

/// Reads `id (name) state …`: user and system time are fields 14 and 15.
fn parse(stat: &str) -> Option<((String, u64), u64)> {
    let (id, rest) = stat.split_once(" (")?;
    let (name, fields) = rest.rsplit_once(") ")?;
    let ticks = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(((name.into(), id.parse().ok()?), ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threads_line_is_read() {
        let stat = "17 (kafka (1) x) S 1 17 17 0 -1 4194560 9 0 0 0 30 12 0 0 20 0 7 0 99 1 1";
        assert_eq!(parse(stat), Some((("kafka (1) x".into(), 17), 42)));
        assert_eq!(parse("nonsense"), None);
    }
}
