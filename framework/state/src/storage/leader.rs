use std::{
    fmt,
    time::{Duration, UNIX_EPOCH},
};

use flott_core::LeaderEpoch;
use serde::{Deserialize, Serialize};

/// The end of the year 9999: later times have no text.
const STARTED_AT_MS_MAX: u64 = 253_402_300_799_000;

/// The JobManager that wrote a journal entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Leader {
    /// A random number that each JobManager draws when it starts. No two JobManagers write equal entries because of it,
    /// so an entry that is equal to one's own is one's own.
    pub nonce: u64,
    /// The address for TaskManagers; empty for a run in one process.
    pub address: String,
    /// Name of its host.
    pub host: String,
    /// Its process id on that host.
    pub process: u32,
    /// When it started, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
}

impl fmt::Display for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("a JobManager of an earlier version, which did not say who it is");
        }
        match self.address.as_str() {
            "" => f.write_str("a run in one process")?,
            address => write!(f, "the JobManager at {address}")?,
        }
        let started = UNIX_EPOCH + Duration::from_millis(self.started_at_ms.min(STARTED_AT_MS_MAX));
        let started = humantime::format_rfc3339_seconds(started);
        write!(f, " (process {} on {}, started {started})", self.process, self.host)
    }
}

/// The time in which one JobManager leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reign {
    /// Its number. No two JobManagers lead in one epoch.
    pub epoch: LeaderEpoch,
    /// The JobManager that leads.
    pub leader: Leader,
}

impl fmt::Display for Reign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, which leads in epoch {}", self.leader, self.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_recognised_by_people() {
        let leader = Leader {
            nonce: 7,
            address: "10.0.0.1:6123".into(),
            host: "node-1".into(),
            process: 4711,
            started_at_ms: 1_700_000_000_999,
        };
        let reign = Reign { epoch: LeaderEpoch(5), leader };
        let expected = "the JobManager at 10.0.0.1:6123 (process 4711 on node-1, started 2023-11-14T22:13:20Z), which \
                        leads in epoch 5";
        assert_eq!(reign.to_string(), expected);
        let local = Leader { address: String::new(), started_at_ms: u64::MAX, ..reign.leader };
        assert!(
            local.to_string().starts_with("a run in one process (process 4711 on node-1, started 9999-12-31")
        );
        assert!(Leader::default().to_string().contains("earlier version"));
    }
}
