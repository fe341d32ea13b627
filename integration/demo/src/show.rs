//! What a person sees while the demo runs.

use std::time::Duration;

use xtask::clock::Stopwatch;

/// Says that something begins or has happened.
pub(crate) fn step(text: &str) {
    eprintln!("demo: {text}");
}

/// A count that grows, shown about once a second.
pub(crate) struct Meter {
    what: &'static str,
    goal: u64,
    watch: Stopwatch,
    shown: Duration,
}

impl Meter {
    const INTERVAL: Duration = Duration::from_secs(1);

    pub(crate) fn new(what: &'static str, goal: u64) -> Self {
        Self { what, goal, watch: Stopwatch::start(), shown: Duration::ZERO }
    }

    /// Shows the count if it is time to.
    pub(crate) fn show(&mut self, count: u64) {
        let elapsed = self.watch.elapsed();
        if elapsed.saturating_sub(self.shown) >= Self::INTERVAL {
            self.shown = elapsed;
            let percent = (count.min(self.goal) * 100).checked_div(self.goal).unwrap_or(100);
            eprintln!("demo:   {}: {percent} %", self.what);
        }
    }
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }
}
