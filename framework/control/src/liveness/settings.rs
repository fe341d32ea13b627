use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Tunes the detection of dead TaskManagers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LivenessSettings {
    /// How often each side sends a heartbeat.
    pub heartbeat_interval: Duration,
    /// A TaskManager that was silent for so long is lost.
    pub heartbeat_timeout: Duration,
}

impl Default for LivenessSettings {
    fn default() -> Self {
        Self { heartbeat_interval: Duration::from_millis(500), heartbeat_timeout: Duration::from_secs(3) }
    }
}
