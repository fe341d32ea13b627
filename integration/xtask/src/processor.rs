//! What threads take of the processor.

use std::{collections::BTreeMap, fs};

/// The kernel counts processor time in ticks of 10 ms.
pub const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time that each thread of a process has used, in ticks, by name and id.
pub type ThreadTicks = BTreeMap<(String, u64), u64>;

/// Reads the processor time of the threads that a process has; none when it is gone.
#[must_use]
pub fn thread_ticks(process_id: u32) -> ThreadTicks {
    let entries = fs::read_dir(format!("/proc/{process_id}/task")).into_iter().flatten().flatten();
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
