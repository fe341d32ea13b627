//! What the façade shows while a job runs.

use std::{collections::BTreeMap, time::Duration};

use flott_control::job::JobStatus;
use flott_core::{CheckpointId, EventTime, OperatorUid};
use serde::{Deserialize, Serialize};

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
    /// What it has counted under this JobManager, over all attempts: records that were read again count again.
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

/// Records of one operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Received; for a source, read.
    pub records_in: u64,
    /// Emitted.
    pub records_out: u64,
    /// Dropped by policy.
    pub records_dropped: u64,
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.records_in += other.records_in;
        self.records_out += other.records_out;
        self.records_dropped += other.records_dropped;
    }
}

/// What a job has done in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobSummary {
    /// Records by operator.
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
}
