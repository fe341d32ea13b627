use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Tunes the exponential-delay restart strategy. The first restart after a healthy time comes at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestartSettings {
    /// Delay of the second restart in a row.
    pub initial_delay: Duration,
    /// No delay is longer, jitter excepted.
    pub max_delay: Duration,
    /// Each delay is so many times the one before.
    pub backoff_multiplier: f64,
    /// Part of the delay by which it varies at random, up and down.
    pub jitter: f64,
    /// A job that ran for so long counts as healthy: the delays start again from the beginning.
    pub healthy_after: Duration,
    /// So many restarts in a row, then the job fails. None: no limit.
    pub attempts_max: Option<u32>,
    /// A job that fails so often in a row in the same way, without a completed checkpoint in between, fails for good.
    /// None: no limit.
    pub same_failures_max: Option<u32>,
}

impl Default for RestartSettings {
    fn default() -> Self {
        Self {
            initial_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(60),
            backoff_multiplier: 1.5,
            jitter: 0.1,
            healthy_after: Duration::from_secs(60),
            attempts_max: None,
            same_failures_max: Some(3),
        }
    }
}
