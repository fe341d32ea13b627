//! What the façade shows while a job runs.

use std::{collections::BTreeMap, fmt, time::Duration};

use flott_control::job::JobStatus;
use flott_core::{CheckpointId, EventTime, OperatorUid, operator::Counters};

/// Is told how the job gets on. Called from the control runtime; must not block for long.
pub trait ProgressListener: Send + Sync {
    /// The state of things, about once a second, and at the end.
    fn on_progress(&self, progress: &JobProgress);

    /// Something worth a line of its own has happened.
    fn on_event(&self, event: &JobEvent);
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl ProgressListener for Silent {
    fn on_progress(&self, _progress: &JobProgress) {}
    fn on_event(&self, _event: &JobEvent) {}
}

/// A line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvent {
    /// Whether a person should look at it.
    pub is_warning: bool,
    /// Whether it happens all the time: a completed checkpoint.
    pub is_routine: bool,
    /// What has happened: `TaskManager 3 was lost: …; restarting from checkpoint 17`.
    pub text: String,
}

/// How the job gets on.
#[derive(Clone, Debug)]
pub struct JobProgress {
    /// The job's name.
    pub job_name: String,
    /// Where the job is in its life.
    pub status: JobStatus,
    /// Since this JobManager started.
    pub elapsed: Duration,
    /// In the order of declaration.
    pub operators: Vec<OperatorProgress>,
    /// The newest completed checkpoint.
    pub checkpoint: Option<CheckpointProgress>,
    /// Checkpoints completed by this JobManager.
    pub checkpoints: u64,
    /// Checkpoints that failed under this JobManager.
    pub failed_checkpoints: u64,
    /// Restarts under this JobManager.
    pub restarts: u64,
    /// Registered TaskManagers.
    pub task_managers: usize,
    /// Slots that are free.
    pub free_slots: usize,
}

/// How one operator gets on, over all its subtasks.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatorProgress {
    /// Its name.
    pub uid: OperatorUid,
    /// Its counts under this JobManager. A restart goes back to the numbers of the checkpoint that it restores:
    /// records that are read again count once.
    pub counters: Counters,
    /// Records received per second, lately.
    pub rate_in: f64,
    /// Records emitted per second, lately.
    pub rate_out: f64,
    /// How far event time has come in all subtasks; none before the first watermark.
    pub watermark: Option<EventTime>,
}

/// The newest completed checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointProgress {
    /// Its id.
    pub id: CheckpointId,
    /// From trigger to manifest.
    pub duration: Duration,
    /// Bytes in snapshot files.
    pub bytes: u64,
}

/// A number of bytes for people: `12 B`, `47.3 KiB`, `1.2 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let exponent = (self.0.ilog2() / 10).min(UNITS.len() as u32);
        let value = self.0 as f64 / f64::from(2_u32.pow(10)).powi(exponent.cast_signed());
        write!(f, "{value:.1} {}", UNITS[exponent as usize - 1])
    }
}

/// What a job has done in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobSummary {
    /// Records by operator since this JobManager started, up to the newest completed checkpoint: every record counts
    /// once, also when a restart has read it again. Without a checkpoint: of the last attempt.
    pub operators: BTreeMap<OperatorUid, Counters>,
    /// Completed checkpoints.
    pub checkpoints: u64,
    /// Restarts.
    pub restarts: u64,
    /// From start to end of this process' part.
    pub duration: Duration,
    /// One line per lost transaction that was accepted.
    pub lost_output: Vec<String>,
    /// Records that readers of the output will miss, accepted by settings.
    pub lost_records: u64,
    /// One line per committed transaction that a partition's readers do not get.
    pub hanging_output: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        let shown = [0, 12, 1023, 1024, 2048, 48_500, 5 << 20, 3 << 30].map(|bytes| Bytes(bytes).to_string());
        assert_eq!(shown, ["0 B", "12 B", "1023 B", "1.0 KiB", "2.0 KiB", "47.4 KiB", "5.0 MiB", "3.0 GiB"]);
        assert_eq!(Bytes(u64::MAX).to_string(), "16777216.0 TiB");
    }
}
