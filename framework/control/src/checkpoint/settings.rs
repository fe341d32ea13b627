use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Tunes checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointSettings {
    /// Time from one trigger to the next.
    pub interval: Duration,
    /// At least so long between the end of one checkpoint and the next trigger.
    pub min_pause: Duration,
    /// A checkpoint that collects for longer has failed.
    pub timeout: Duration,
    /// So many checkpoints may be under way at once.
    pub in_flight_max: usize,
    /// So many failed checkpoints in a row are tolerated; one more restarts the job.
    pub tolerable_failures: u32,
    /// So many completed checkpoints are kept. More than one, so that a corrupt newest one has a predecessor.
    pub retained: usize,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            min_pause: Duration::ZERO,
            timeout: Duration::from_secs(600),
            in_flight_max: 1,
            tolerable_failures: 3,
            retained: 2,
        }
    }
}
