//! The one place of this crate that reads the clock and sleeps.

use std::time::{Duration, Instant};

/// Measures how long something takes.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring now.
    #[expect(
        clippy::disallowed_methods,
        reason = "developer commands run in real time; nothing replays them"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Waits between two looks at something outside this process, which cannot be waited on.
#[expect(clippy::disallowed_methods, reason = "another process's port and log can only be polled")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
