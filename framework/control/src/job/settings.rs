use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{checkpoint::CheckpointSettings, liveness::LivenessSettings, restart::RestartSettings};

/// Tunes the life of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobSettings {
    /// Checkpoints.
    pub checkpoint: CheckpointSettings,
    /// Restarts.
    pub restart: RestartSettings,
    /// Heartbeats.
    pub liveness: LivenessSettings,
    /// A job that lacks slots for so long fails. None: it waits for ever.
    pub slot_timeout: Option<Duration>,
    /// A job without any checkpoint that has never run and still fails so long after its first failure, fails for
    /// good. None: it is tried for ever.
    pub start_timeout: Option<Duration>,
    /// A job with a checkpoint that an external system refuses for so long (login, certificate, permission, missing topic) fails
    /// for good. None: it is tried for ever. A job without any checkpoint fails at the third refusal in a row.
    pub refusal_timeout: Option<Duration>,
    /// All tasks of an attempt have to run after so long.
    pub deploy_timeout: Duration,
    /// A TaskManager whose cancelled tasks have not gone after so long is dropped.
    pub cancel_timeout: Duration,
    /// A suspension without its last checkpoint and commits after so long goes on without them.
    pub stop_timeout: Duration,
    /// Closing takes no longer than this, whatever is left open.
    pub close_timeout: Duration,
}

impl Default for JobSettings {
    fn default() -> Self {
        Self {
            checkpoint: CheckpointSettings::default(),
            restart: RestartSettings::default(),
            liveness: LivenessSettings::default(),
            slot_timeout: Some(Duration::from_secs(300)),
            start_timeout: Some(Duration::from_secs(60)),
            refusal_timeout: Some(Duration::from_secs(600)),
            deploy_timeout: Duration::from_secs(600),
            cancel_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::de::{
        IntoDeserializer,
        value::{Error, MapDeserializer},
    };

    use super::*;

    fn parse(key: &str) -> Result<RestartSettings, Error> {
        let entries: [(&str, u32); 1] = [(key, 3)];
        let map: MapDeserializer<'_, _, Error> = MapDeserializer::new(entries.into_iter());
        RestartSettings::deserialize(map.into_deserializer())
    }

    #[test]
    fn what_is_not_set_has_its_default_and_what_is_unknown_is_an_error() {
        let expected = RestartSettings { jitter: 3.0, ..RestartSettings::default() };
        assert_eq!(parse("jitter"), Ok(expected));
        assert!(parse("jiter").unwrap_err().to_string().contains("unknown field `jiter`"));
    }
}
