//! What `--help` says after the flags: the other settings, and what exit codes mean.

use std::fmt::Write as _;

use flott_cluster::ClusterSettings;
use serde::Serialize;
use serde_json::Value;

use super::LaunchSettings;

/// Settings that have no flag of their own, with what they do. Their defaults are taken from where they are defined.
const SETTINGS: [(&str, &str); 19] = [
    ("log", "What is logged to stderr: warn, info, flott_cluster=debug …"),
    ("checkpoint_min_pause", "At least so long between two checkpoints"),
    (
        "checkpoint_timeout",
        "A checkpoint that takes longer has failed; transactions of a sink may leave less",
    ),
    ("tolerable_failed_checkpoints", "So many in a row may fail; one more restarts the job"),
    ("retained_checkpoints", "So many completed checkpoints are kept"),
    ("heartbeat_interval", "How often JobManager and TaskManagers say that they live"),
    ("heartbeat_timeout", "Who was silent for so long is lost"),
    ("jobmanager_timeout", "How long a TaskManager waits for a JobManager"),
    ("restart_initial_delay", "Delay of the second restart in a row; the first comes at once"),
    ("restart_max_delay", "No restart delay is longer"),
    ("restart_backoff", "Each restart delay is so many times the one before"),
    ("restart_healthy_after", "After so long without a failure, delays start anew"),
    ("restart_attempts", "So many restarts in a row, then the job fails; 0: no limit"),
    ("slot_timeout", "A job that lacks slots for so long fails; 0s: no limit"),
    ("start_timeout", "A new job that does not come to run for so long fails; 0s: no limit"),
    ("cancel_timeout", "User code that does not stop for so long ends its TaskManager"),
    ("stop_timeout", "So long a stopped JobManager waits for its last checkpoint"),
    ("accept_lost_output", "Go on although output is lost; the loss is reported"),
    ("allow_repeated_output", "Go on from an older checkpoint, and write again what came after"),
];

const PLACES: &str = "\
Every flag is also a key in flott.toml (checkpoint_dir = \"…\") and a variable (FLOTT_CHECKPOINT_DIR); job parameters \
are keys of its [params] table and FLOTT_PARAMS__… variables. Flags win over variables, variables over the file.";

const EXIT_CODES: &str = "\
Exit codes, and what to do:
  0    finished: --again runs it again, from nothing
  1    failed for good: code or input fails and restart_attempts are used up
       (by default a job is restarted for ever), a new job did not run within
       start_timeout, or code did not stop within cancel_timeout:
       remove the cause and start again, it goes on
  2    the command line is wrong: see --help
  3    a setting, a parameter or the job's declaration is invalid:
       the message says which, and where it is written
  4    state cannot be restored, or output of a completed checkpoint is lost:
       the message says what. To go on all the same
       --set allow_repeated_output=true  from an older checkpoint
       --set accept_lost_output=true     without what is lost
  5    another binary, plan or JobManager: start all processes from one file,
       and one JobManager per checkpoint directory
  6    the JobManager, enough TaskManagers or an external system was not there
       in time: see to it and start again
  101  a bug in Flott: report it with what stderr says
  130  stopped by SIGINT, or 143 by SIGTERM; the job is not finished:
       start again with the same --checkpoint-dir, it goes on";

/// After the flags, for `-h`.
pub(super) fn short() -> String {
    format!("{PLACES}\n\n--help lists all other settings, and what exit codes mean")
}

/// After the flags, for `--help`.
pub(super) fn long() -> String {
    let mut out = format!("{PLACES}\n\nOther settings (--set KEY=VALUE), with their defaults:\n");
    let defaults = [defaults::<LaunchSettings>(), defaults::<ClusterSettings>()];
    for (key, help) in SETTINGS {
        let default = defaults.iter().find_map(|defaults| defaults.get(key));
        let default = match default {
            Some(Value::String(text)) => text.clone(),
            other => other.map(ToString::to_string).unwrap_or_default(),
        };
        let assignment = format!("{key}={default}");
        let _ = writeln!(out, "  {assignment:<31} {help}");
    }
    out.push('\n');
    out.push_str(EXIT_CODES);
    out
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
            ErrorKind::Incompatible,
            ErrorKind::Unreachable,
            ErrorKind::Internal,
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
