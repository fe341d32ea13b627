//! What a user tunes, as a flat list of keys: each is a flag, a key in `flott.toml` and a `FLOTT_…` variable.

use std::time::Duration;

use flott_control::{
    checkpoint::CheckpointSettings, job::JobSettings, liveness::LivenessSettings, restart::RestartSettings,
};
use flott_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// The JobManager's port, unless `listen` says otherwise.
pub const JOBMANAGER_PORT: u16 = 6123;

/// Most slots that a TaskManager may offer.
pub(crate) const SLOTS_MAX: u32 = 4096;

/// Settings of the engine. A JobManager sends its own to every TaskManager, which keeps only `listen`, `jobmanager`,
/// `slots` and what secures its connections of its own, and until it has found a JobManager `jobmanager_timeout`. Durations are written like `1s`, `500ms`, `10m`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSettings {
    /// `HOST:PORT` to listen on; port 0 takes any. Empty: `127.0.0.1:6123` for a JobManager; for a TaskManager any port
    /// of the address from which it reaches the JobManager, where the JobManager sends other TaskManagers.
    pub listen: String,
    /// `HOST:PORT` of the JobManager that a TaskManager joins.
    pub jobmanager: String,
    /// A file with the secret that all processes of the job share: connections are encrypted, and both ends prove that they
    /// know it. Each line is a secret of at least 32 bytes: the first is this process's own, the others are accepted as
    /// well, so that it can be changed without a gap. Read again when it changes.
    pub secret_file: String,
    /// Instead of a secret: the certificate chain of this process (PEM). The certificates of all processes of the job bear
    /// one DNS name in common. Read again when it changes, as the other two.
    pub tls_cert: String,
    /// The private key of `tls_cert` (PEM).
    pub tls_key: String,
    /// The authorities (PEM) that sign certificates of processes of the job.
    pub tls_ca: String,
    /// Listen also on addresses that others can reach, without a secret or certificates. Whoever connects can read the
    /// job's parameters, passwords included, and run as a TaskManager.
    pub insecure: bool,
    /// Slots that a TaskManager offers. A local run has as many as the job needs.
    pub slots: u32,
    /// Parallelism of operators that do not name their own.
    pub parallelism: u32,
    /// Where checkpoints are kept: a URL such as `file:///var/lib/flott/my-job`, or a path. One directory is one job.
    /// All processes of the job use it: on several hosts it is a shared directory, mounted at the same path.
    /// A local run without one uses a temporary directory.
    pub checkpoint_dir: String,
    /// Time from one checkpoint to the next.
    #[serde(with = "duration")]
    pub checkpoint_interval: Duration,
    /// At least so long between the end of one checkpoint and the start of the next.
    #[serde(with = "duration")]
    pub checkpoint_min_pause: Duration,
    /// A checkpoint that takes longer has failed, storing included. The transactions of a sink leave it less time: about a
    /// quarter of their timeout.
    #[serde(with = "duration")]
    pub checkpoint_timeout: Duration,
    /// So many checkpoints in a row may fail; one more restarts the job.
    pub tolerable_failed_checkpoints: u32,
    /// So many completed checkpoints are kept. At least two are needed to survive a corrupt one.
    pub retained_checkpoints: u32,
    /// How often JobManager and TaskManagers say that they live.
    #[serde(with = "duration")]
    pub heartbeat_interval: Duration,
    /// Who was silent for so long is lost.
    #[serde(with = "duration")]
    pub heartbeat_timeout: Duration,
    /// How long a TaskManager waits for a JobManager that is not there or went away.
    #[serde(with = "duration")]
    pub jobmanager_timeout: Duration,
    /// Delay of the second restart in a row; the first comes at once.
    #[serde(with = "duration")]
    pub restart_initial_delay: Duration,
    /// No restart delay is longer.
    #[serde(with = "duration")]
    pub restart_max_delay: Duration,
    /// Each restart delay is so many times the one before.
    pub restart_backoff: f64,
    /// After so long without a failure, delays start from the beginning.
    #[serde(with = "duration")]
    pub restart_healthy_after: Duration,
    /// Number of restarts in a row after which the job fails. Zero: no limit.
    pub restart_attempts: u32,
    /// Number of failures with the same message and without a completed checkpoint in between after which the job
    /// fails: a record that the job's code cannot process fails it after every restart. Zero: no limit.
    pub same_failure_attempts: u32,
    /// A job that lacks slots for so long fails. `0s`: it waits for ever.
    #[serde(with = "duration")]
    pub slot_timeout: Duration,
    /// A new job that cannot be brought to run for so long fails. `0s`: it is tried for ever.
    #[serde(with = "duration")]
    pub start_timeout: Duration,
    /// A job that has completed a checkpoint and is refused by an external system for so long (login, certificate, permission,
    /// missing topic) fails. `0s`: it is tried for ever. A job without any checkpoint fails at the third
    /// refusal in a row.
    #[serde(with = "duration")]
    pub refusal_timeout: Duration,
    /// User code that does not stop for so long ends its TaskManager.
    #[serde(with = "duration")]
    pub cancel_timeout: Duration,
    /// A suspended JobManager waits so long for its last checkpoint.
    #[serde(with = "duration")]
    pub stop_timeout: Duration,
    /// Go on although output of the last checkpoint is lost; the loss is reported.
    pub accept_lost_output: bool,
    /// Go on from an older checkpoint although output that was committed after it will be written again.
    pub allow_repeated_output: bool,
    /// Run a job again that has ended, from nothing.
    pub again: bool,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            listen: String::new(),
            jobmanager: String::new(),
            secret_file: String::new(),
            tls_cert: String::new(),
            tls_key: String::new(),
            tls_ca: String::new(),
            insecure: false,
            slots: 1,
            parallelism: 1,
            checkpoint_dir: String::new(),
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_min_pause: Duration::ZERO,
            checkpoint_timeout: Duration::from_secs(600),
            tolerable_failed_checkpoints: 3,
            retained_checkpoints: 2,
            heartbeat_interval: Duration::from_secs(1),
            heartbeat_timeout: Duration::from_secs(3),
            jobmanager_timeout: Duration::from_secs(60),
            restart_initial_delay: Duration::from_millis(500),
            restart_max_delay: Duration::from_secs(60),
            restart_backoff: 1.5,
            restart_healthy_after: Duration::from_secs(60),
            restart_attempts: 0,
            same_failure_attempts: 3,
            slot_timeout: Duration::from_secs(300),
            start_timeout: Duration::from_secs(60),
            refusal_timeout: Duration::from_secs(600),
            cancel_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(30),
            accept_lost_output: false,
            allow_repeated_output: false,
            again: false,
        }
    }
}

impl ClusterSettings {
    /// Checks the ranges of values, and what one value alone cannot show.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`]: all that is wrong, and what to do.
    pub fn check(&self) -> Result<()> {
        let mistakes = self.mistakes();
        if mistakes.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Settings, mistakes.join("; "))) }
    }

    /// Lists what [`Self::check`] refuses.
    #[must_use]
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut refuse_if = |is_wrong: bool, message: String| mistakes.extend(is_wrong.then_some(message));
        for (name, value) in [("slots", self.slots), ("parallelism", self.parallelism)] {
            refuse_if(value == 0, format!("`{name}` must be at least 1"));
        }
        refuse_if(
            self.slots > SLOTS_MAX,
            format!("`slots` is {}; a TaskManager offers at most {SLOTS_MAX}", self.slots),
        );
        for (name, value) in [
            ("checkpoint_interval", self.checkpoint_interval),
            ("heartbeat_interval", self.heartbeat_interval),
        ] {
            refuse_if(value.is_zero(), format!("`{name}` must be longer than 0s"));
        }
        refuse_if(
            self.heartbeat_timeout <= self.heartbeat_interval,
            "`heartbeat_timeout` must be longer than `heartbeat_interval`".into(),
        );
        mistakes
    }

    /// Whether state outlives the process. Without a checkpoint directory a local run has a temporary one.
    #[must_use]
    pub fn keeps_state(&self) -> bool {
        !self.checkpoint_dir.is_empty()
    }

    /// What the JobMaster needs of it.
    pub(crate) fn job_settings(&self) -> JobSettings {
        let unless_zero = |duration: Duration| (!duration.is_zero()).then_some(duration);
        JobSettings {
            checkpoint: CheckpointSettings {
                interval: self.checkpoint_interval,
                min_pause: self.checkpoint_min_pause,
                timeout: self.checkpoint_timeout,
                tolerable_failures: self.tolerable_failed_checkpoints,
                retained: self.retained_checkpoints.max(1) as usize,
                ..CheckpointSettings::default()
            },
            restart: RestartSettings {
                initial_delay: self.restart_initial_delay,
                max_delay: self.restart_max_delay,
                backoff_multiplier: self.restart_backoff,
                healthy_after: self.restart_healthy_after,
                attempts_max: (self.restart_attempts > 0).then_some(self.restart_attempts),
                same_failures_max: (self.same_failure_attempts > 0).then_some(self.same_failure_attempts),
                ..RestartSettings::default()
            },
            liveness: LivenessSettings {
                heartbeat_interval: self.heartbeat_interval,
                heartbeat_timeout: self.heartbeat_timeout,
            },
            slot_timeout: unless_zero(self.slot_timeout),
            start_timeout: unless_zero(self.start_timeout),
            refusal_timeout: unless_zero(self.refusal_timeout),
            // The TaskManager gives up first and says why.
            cancel_timeout: self.cancel_timeout + Duration::from_secs(5),
            stop_timeout: self.stop_timeout,
            ..JobSettings::default()
        }
    }

    /// The JobManager's settings as a TaskManager uses them.
    pub(crate) fn adopted_by(mut self, own: &Self) -> Self {
        self.listen.clone_from(&own.listen);
        self.jobmanager.clone_from(&own.jobmanager);
        self.slots = own.slots;
        self.secret_file.clone_from(&own.secret_file);
        self.tls_cert.clone_from(&own.tls_cert);
        self.tls_key.clone_from(&own.tls_key);
        self.tls_ca.clone_from(&own.tls_ca);
        self.insecure = own.insecure;
        self
    }

    pub(crate) fn jobmanager_listen(&self) -> String {
        if self.listen.is_empty() { format!("127.0.0.1:{JOBMANAGER_PORT}") } else { self.listen.clone() }
    }
}

/// Durations as people write them.
mod duration {
    use std::{fmt, time::Duration};

    use serde::{
        Deserializer, Serializer,
        de::{Error, Visitor},
    };

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(Text)
    }

    /// Takes text. A number is refused with what to write in its place.
    struct Text;

    impl Visitor<'_> for Text {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as \"500ms\", \"1s\" or \"10m\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            match text.trim().parse::<f64>() {
                // Humantime takes a bare 0.
                Ok(number) if number != 0.0 => Err(without_unit(text.trim())),
                _ => humantime::parse_duration(text).map_err(|error| {
                    E::custom(format!(
                        "{text:?} is no duration such as \"500ms\", \"1s\" or \"10m\": {error}"
                    ))
                }),
            }
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<Duration, E> {
            Err(without_unit(number))
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<Duration, E> {
            Err(without_unit(number))
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<Duration, E> {
            Err(without_unit(number))
        }
    }

    fn without_unit<E: Error>(number: impl fmt::Display) -> E {
        E::custom(format!(
            "{number} has no unit: write \"{number}s\" for seconds or \"{number}ms\" for milliseconds"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_travel_as_json_and_unknown_keys_are_errors() {
        let settings =
            ClusterSettings { checkpoint_interval: Duration::from_millis(250), ..Default::default() };
        let text = serde_json::to_string(&settings).unwrap();
        assert!(text.contains("\"checkpoint_interval\":\"250ms\""), "{text}");
        assert_eq!(serde_json::from_str::<ClusterSettings>(&text).unwrap(), settings);
        let error = serde_json::from_str::<ClusterSettings>("{\"slotz\":1}").unwrap_err().to_string();
        assert!(error.contains("unknown field `slotz`"), "{error}");
        let error = serde_json::from_str::<ClusterSettings>("{\"slot_timeout\":\"soon\"}").unwrap_err();
        assert!(error.to_string().contains("such as \"500ms\""), "{error}");
        for number in ["2", "2.5", "\"2\""] {
            let text = format!("{{\"slot_timeout\":{number}}}");
            let error = serde_json::from_str::<ClusterSettings>(&text).unwrap_err().to_string();
            let number = number.trim_matches('"');
            assert!(error.contains(&format!("write \"{number}s\" for seconds or \"{number}ms\"")), "{error}");
        }
    }

    #[test]
    fn settings_that_messages_offer_exist() {
        let settings = serde_json::to_value(ClusterSettings::default()).unwrap();
        for key in [flott_core::sink::ACCEPT_LOST_OUTPUT, flott_core::sink::ALLOW_REPEATED_OUTPUT] {
            assert_eq!(settings[key], false, "{key}");
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        assert!(ClusterSettings::default().check().is_ok());
        let settings = ClusterSettings { heartbeat_timeout: Duration::from_secs(1), ..Default::default() };
        assert_eq!(settings.check().unwrap_err().kind(), ErrorKind::Settings);
        let settings = ClusterSettings { slots: 0, checkpoint_interval: Duration::ZERO, ..settings };
        assert_eq!(settings.mistakes().len(), 3, "all are named");
    }
}
