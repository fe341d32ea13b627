//! What clients report beside their work.
//!
//! librdkafka reports every failed try of every connection of every client: thousands of lines for a broker that is away
//! for a minute. One line in a while tells as much.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use flott_core::{Clock, MonotonicTime, SystemClock};
use rdkafka::error::KafkaError;

const INTERVAL: Duration = Duration::from_secs(5);

/// Lets one event in a while pass, and counts the others.
#[derive(Debug)]
struct Throttle {
    passed: Option<MonotonicTime>,
    held_back: u64,
}

impl Throttle {
    /// How many events were held back before this one, which passes; nothing, if it is held back.
    fn on_event(&mut self, now: MonotonicTime) -> Option<u64> {
        if self.passed.is_some_and(|passed| now.since(passed) < INTERVAL) {
            self.held_back += 1;
            return None;
        }
        self.passed = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

/// Logs trouble that a client of this process has, and gets over by itself.
pub(super) fn report(topic: &str, error: &KafkaError, reason: &str) {
    static THROTTLE: Mutex<Throttle> = Mutex::new(Throttle { passed: None, held_back: 0 });
    let passes = THROTTLE.lock().unwrap_or_else(PoisonError::into_inner).on_event(SystemClock.now());
    if let Some(similar_before) = passes {
        tracing::warn!(topic, %error, reason, similar_before, "trouble with Kafka; the client goes on trying");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_in_a_while_passes() {
        let mut throttle = Throttle { passed: None, held_back: 0 };
        let seen: Vec<_> = [0, 1, 4, 5, 6, 20, 21]
            .map(|seconds| throttle.on_event(MonotonicTime::from_start(Duration::from_secs(seconds))))
            .into();
        assert_eq!(seen, [Some(0), None, None, Some(2), None, Some(1), None]);
    }
}
