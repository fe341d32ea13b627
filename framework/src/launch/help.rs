//! What `--help` says after the flags: the other settings, and what exit codes mean.

use std::fmt::Write as _;

use flott_cluster::ClusterSettings;
use serde::Serialize;
use serde_json::Value;

use super::LaunchSettings;

/// Settings that have no flag of their own, with what they do. Their defaults are taken from where they are defined.
const SETTINGS: [(&str, &str); 21] = [
    ("log", "Filter of the log on stderr: off, warn, info, flott_cluster=debug …"),
    ("checkpoint_min_pause", "Minimum time from the end of a checkpoint to the start of the next"),
    ("checkpoint_timeout", "A checkpoint that takes longer fails; a sink's transactions can leave less time"),
    ("tolerable_failed_checkpoints", "Failed checkpoints in a row that do not restart the job"),
    ("retained_checkpoints", "Number of completed checkpoints to retain"),
    ("heartbeat_interval", "Time between heartbeats of JobManager and TaskManagers"),
    ("heartbeat_timeout", "A process that is silent this long is considered lost"),
    ("jobmanager_timeout", "Time a TaskManager waits for a JobManager"),
    ("restart_initial_delay", "Delay of the second restart in a row; the first has none"),
    ("restart_max_delay", "Maximum delay of a restart"),
    ("restart_backoff", "Factor from one restart delay to the next"),
    ("restart_healthy_after", "Time without a failure after which delays start from the beginning"),
    ("restart_attempts", "Restarts in a row after which the job fails; 0: no limit"),
    (
        "same_failure_attempts",
        "Same failures without a completed checkpoint in between that end the job; 0: no limit",
    ),
    ("slot_timeout", "A job that lacks slots this long fails; 0s: no limit"),
    ("start_timeout", "A new job that cannot run for this long fails; 0s: no limit"),
    ("refusal_timeout", "A job that worked and is refused (login, rights) this long fails; 0s: no limit"),
    ("cancel_timeout", "User code that does not stop in this time ends its TaskManager"),
    ("stop_timeout", "Time a stopped JobManager waits for its last checkpoint"),
    ("accept_lost_output", "Continue although output is lost; the loss is reported"),
    ("allow_repeated_output", "Continue from an older checkpoint and write again what followed it"),
];

const PLACES: &str = "\
Every flag is also a key in flott.toml (checkpoint_dir = \"…\") and a variable (FLOTT_CHECKPOINT_DIR); job parameters \
are keys of its [params] table and FLOTT_PARAMS__… variables. Flags win over variables, variables over the file.";

const EXIT_CODES: &str = "\
Exit codes, and what to do:
  0    finished: --again runs it again, from nothing
  1    failed for good: code or input failed same_failure_attempts times in
       the same way without a completed checkpoint in between, or
       restart_attempts are used up (by default there is no limit), a new job
       did not run within start_timeout, or code did not stop within
       cancel_timeout: remove the cause and start again, the job continues
  2    the command line is wrong: see --help
  3    a setting, a parameter or the job's declaration is invalid, the processes
       have different secrets or certificates, or an external system refuses the
       job (login, rights, missing topic) three times in a row; a job that has
       completed a checkpoint is restarted for refusal_timeout first:
       the message says which, and where it is written
  4    state cannot be restored, output of a completed checkpoint is lost or
       would be written twice: the message says what. To go on all the same
       --set allow_repeated_output=true  from an older checkpoint
       --set accept_lost_output=true     without what is lost
       Or the job finished, but readers of its output stand still: a Kafka
       broker left the marker of a transaction out of a partition. The last
       lines name each such partition, and what to do
  5    another binary or plan, or another JobManager leads the job (the message
       names it): start all processes from one file, and one JobManager per
       checkpoint directory
  6    the JobManager, enough TaskManagers or an external system was not there
       in time: see to it and start again
  101  a bug in Flott: report it with what stderr says
  141  the reader of standard output has closed it, as head does
  130  stopped by SIGINT, or 143 by SIGTERM; the job is not finished:
       start again with the same --checkpoint-dir, it goes on";

/// After the flags, for `-h`.
pub(super) fn short() -> String {
    format!("{PLACES}\n\n--help lists all other settings, and what exit codes mean")
}

/// After the flags, for `--help`.
pub(super) fn long() -> String {
    let mut out = format!("{PLACES}\n\nOther settings (--set KEY=VALUE), with their defaults:\n");
    for (key, help) in SETTINGS {
        let default = default_of(key).unwrap_or_default();
        let assignment = format!("{key}={default}");
        let _ = writeln!(out, "  {assignment:<31} {help}");
    }
    out.push('\n');
    out.push_str(EXIT_CODES);
    out
}

/// The default of a setting as it is written, if it is a value.
pub(super) fn default_of(key: &str) -> Option<String> {
    let (mut launch, mut cluster) = (defaults::<LaunchSettings>(), defaults::<ClusterSettings>());
    match launch.remove(key).or_else(|| cluster.remove(key))? {
        Value::String(text) => (!text.is_empty()).then_some(text),
        other => Some(other.to_string()),
    }
}

fn defaults<S: Default + Serialize>() -> serde_json::Map<String, Value> {
    match serde_json::to_value(S::default()) {
        Ok(Value::Object(defaults)) => defaults,
        _ => serde_json::Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flott_core::ErrorKind;

    use super::*;
    use crate::launch::cli;

    fn all_settings() -> BTreeSet<String> {
        defaults::<LaunchSettings>()
            .into_iter()
            .chain(defaults::<ClusterSettings>())
            .map(|(key, _)| key)
            .collect()
    }

    #[test]
    fn every_setting_is_explained_once() {
        let flags = cli::SETTINGS.iter().map(|(id, _, _)| *id);
        let explained: Vec<_> =
            flags.chain(SETTINGS.iter().map(|(key, _)| *key)).map(str::to_owned).collect();
        assert_eq!(explained.len(), all_settings().len(), "none is there twice");
        assert_eq!(explained.into_iter().collect::<BTreeSet<_>>(), all_settings());
    }

    #[test]
    fn defaults_are_shown_as_they_are_written() {
        let help = long();
        for assignment in ["log=warn ", "checkpoint_timeout=10m ", "restart_backoff=1.5 ", "again=false"] {
            let is_there = help.contains(&format!("\n  {assignment}"));
            assert_eq!(is_there, assignment != "again=false", "{assignment}: {help}");
        }
    }

    #[test]
    fn every_exit_code_is_explained_with_settings_that_exist() {
        let readme = include_str!("../../../README.md");
        for kind in [
            ErrorKind::User,
            ErrorKind::State,
            ErrorKind::OutputLost,
            ErrorKind::Settings,
            ErrorKind::Refused,
            ErrorKind::Incompatible,
            ErrorKind::Unreachable,
            ErrorKind::Internal,
            ErrorKind::OutputClosed,
        ] {
            let code = kind.exit_code();
            assert!(EXIT_CODES.contains(&format!("\n  {code} ")), "{code}");
            assert!(readme.contains(&format!("\n| {code} | ")), "{code}");
        }
        let words = |text: &'static str| text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
        for word in words(EXIT_CODES).filter(|word| word.contains('_')) {
            assert!(all_settings().contains(word), "{word}");
            assert!(
                readme.contains(&format!("`{word}")) || readme.contains(&format!("{word}=true`")),
                "{word}"
            );
        }
    }
}
