use std::time::Duration;

/// Tells when a peer that says nothing is lost.
///
/// It counts intervals instead of measuring time. A process that was frozen itself then counts one, however long that
/// was, and does not take its own absence for that of its peers.
#[derive(Debug)]
pub(crate) struct Silence {
    intervals_max: u128,
    /// None: it was never heard. It may have connected to a process that is not ready to answer, which takes as long as
    /// a deployment takes.
    intervals: Option<u128>,
}

impl Silence {
    pub(crate) fn new(interval: Duration, timeout: Duration) -> Self {
        // A peer that freezes may have said its last words an interval before.
        let intervals_max = timeout.as_nanos().div_ceil(interval.as_nanos().max(1)) + 1;
        Self { intervals_max, intervals: None }
    }

    /// An interval has passed. Returns whether the peer is lost.
    pub(crate) fn on_interval(&mut self, was_heard: bool) -> bool {
        if was_heard {
            self.intervals = Some(0);
        } else if let Some(intervals) = &mut self.intervals {
            *intervals += 1;
        }
        self.intervals.is_some_and(|intervals| intervals >= self.intervals_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silence() -> Silence {
        Silence::new(Duration::from_secs(1), Duration::from_secs(3))
    }

    #[test]
    fn a_peer_is_lost_after_the_timeout_and_the_interval_before_it() {
        let mut silence = silence();
        silence.on_interval(true);
        assert_eq!([(); 5].map(|()| silence.on_interval(false)), [false, false, false, true, true]);
    }

    #[test]
    fn every_word_starts_the_count_anew() {
        let mut silence = silence();
        for round in 0..40 {
            assert!(!silence.on_interval(round % 4 == 0));
        }
    }

    #[test]
    fn a_peer_that_was_never_heard_is_not_lost() {
        let mut silence = silence();
        assert!((0..1000).all(|_| !silence.on_interval(false)));
    }
}
