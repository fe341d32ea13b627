//! Peers that have not proven who they are.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flott_core::{Clock, Error, MonotonicTime, SystemClock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Refusals that are logged within [`INTERVAL`].
const LINES_MAX: u32 = 10;
const INTERVAL: Duration = Duration::from_secs(10);

/// Characters of a logged refusal: some of them may be a stranger's words.
const REASON_CHARS_MAX: usize = 400;

/// Characters that are quoted of what a stranger sent.
const QUOTE_CHARS_MAX: usize = 64;

/// Bounds the connections of one port whose peers have not proven themselves, and the log lines that they cause.
pub struct Strangers {
    port: &'static str,
    permits: Arc<Semaphore>,
    throttle: Mutex<Throttle>,
}

impl Strangers {
    /// At most `connections_max` at a time; `port` names the port in the log.
    #[must_use]
    pub fn new(port: &'static str, connections_max: usize) -> Self {
        let permits = Arc::new(Semaphore::new(connections_max));
        Self { port, permits, throttle: Mutex::default() }
    }

    /// Waits until one more connection may be taken. The permit is held until its peer has proven itself or is refused.
    pub async fn admit(&self) -> OwnedSemaphorePermit {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.expect("the semaphore is never closed")
    }

    /// Logs that a peer was refused, unless many were lately.
    pub fn refused(&self, address: SocketAddr, error: &Error) {
        let line = self.throttle.lock().unwrap_or_else(PoisonError::into_inner).on_line(SystemClock.now());
        if let Some(unlogged_before) = line {
            let reason = harmless(&error.to_string(), REASON_CHARS_MAX);
            tracing::warn!(port = self.port, %address, unlogged_before, "refused a connection: {reason}");
        }
    }
}

/// The bytes of a stranger, fit for a log: escaped, in quotes, and short.
#[must_use]
pub fn quoted(text: &str) -> String {
    let short: String = text.chars().take(QUOTE_CHARS_MAX).collect();
    let rest = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{rest}")
}

fn harmless(text: &str, chars_max: usize) -> String {
    let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut short: String = text.chars().take(chars_max).map(visible).collect();
    if short.len() < text.len() && text.chars().nth(chars_max).is_some() {
        short.push('…');
    }
    short
}

/// Lets a number of lines pass in an interval, and counts the others.
#[derive(Debug, Default)]
struct Throttle {
    begun: Option<MonotonicTime>,
    lines: u32,
    held_back: u64,
}

impl Throttle {
    /// The number of lines that were held back before this one, which passes. None: this one is held back.
    fn on_line(&mut self, now: MonotonicTime) -> Option<u64> {
        if self.begun.is_none_or(|begun| now.since(begun) >= INTERVAL) {
            (self.begun, self.lines) = (Some(now), 0);
        }
        if self.lines >= LINES_MAX {
            self.held_back += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_pass_in_ten_seconds() {
        let mut throttle = Throttle::default();
        let at = |seconds| MonotonicTime::from_start(Duration::from_secs(seconds));
        let passed = (0..100).filter(|_| throttle.on_line(at(1)).is_some()).count();
        assert_eq!(passed, 10);
        assert_eq!(throttle.on_line(at(10)), None);
        assert_eq!(throttle.on_line(at(11)), Some(91));
        assert_eq!(throttle.on_line(at(12)), Some(0));
    }

    #[test]
    fn a_stranger_writes_no_line_of_its_own_into_the_log() {
        assert_eq!(quoted("x\n2026 WARN all is well\u{1b}[2J"), r#""x\n2026 WARN all is well\u{1b}[2J""#);
        assert_eq!(quoted(&"é".repeat(1000)), format!("\"{}\"…", "é".repeat(64)));
        assert_eq!(harmless("a\r\nb", 10), "a\u{fffd}\u{fffd}b");
        assert_eq!(harmless("abcd", 3), "abc…");
        assert_eq!(harmless("abc", 3), "abc");
    }

    #[tokio::test]
    async fn no_more_are_admitted_than_allowed() {
        let strangers = Strangers::new("test", 2);
        let (first, _second) = (strangers.admit().await, strangers.admit().await);
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, strangers.admit()).await.is_err());
        drop(first);
        assert!(tokio::time::timeout(soon, strangers.admit()).await.is_ok());
    }
}
