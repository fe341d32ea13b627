//! What the façade hands over, and what it gets back.

use std::{fmt, sync::Arc};

use flott_core::{Error, Result};
use flott_runtime::program::JobProgram;

use crate::{progress::JobSummary, settings::ClusterSettings, termination::Termination};

/// Runs the user's `main`, which declares the job, with the job's parameters.
pub type BuildProgram = dyn Fn(&serde_json::Value, &ClusterSettings) -> Result<JobProgram> + Send + Sync;

/// A job, ready to be started in some role.
pub struct JobLaunch {
    /// Its name, for people.
    pub job_name: String,
    /// Differs between binaries: a cluster is formed by equal ones only.
    pub build_id: String,
    /// The job's own parameters. A TaskManager gets them from the JobManager.
    pub parameters: serde_json::Value,
    /// Settings. A TaskManager needs `jobmanager` and `slots` and gets the others from the JobManager.
    pub settings: ClusterSettings,
    /// Runs the user's `main`.
    pub build_program: Arc<BuildProgram>,
    /// Who may ask this process to end.
    pub terminate: Termination,
}

// Parameters may be passwords.
impl fmt::Debug for JobLaunch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobLaunch")
            .field("job_name", &self.job_name)
            .field("build_id", &self.build_id)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// How a job ended, as far as this process is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeStatus {
    /// A bounded job is done, and all its output is committed.
    Finished,
    /// A signal stopped this process; the job is not finished and can be gone on with.
    Suspended,
    /// The job was cancelled on request.
    Cancelled,
    /// The job failed for good.
    Failed,
}

/// The end of a job in a JobManager or a local run.
#[derive(Debug)]
pub struct JobOutcome {
    /// How it ended.
    pub status: OutcomeStatus,
    /// The reason, if it did not end as wished. Its kind gives the exit code. A job that finished has none; its exit code is that
    /// of [`ErrorKind::OutputLost`](flott_core::ErrorKind::OutputLost) while the summary lists hanging output.
    pub error: Option<Error>,
    /// Which signal suspended it.
    pub signal: Option<StopSignal>,
    /// Its totals. The default when it did not begin.
    pub summary: JobSummary,
    /// The job had ended before this process started; nothing was run. How it ended is in `status`.
    pub already_finished: bool,
}

impl JobOutcome {
    pub(crate) fn failed(error: Error) -> Self {
        Self {
            status: OutcomeStatus::Failed,
            error: Some(error),
            signal: None,
            summary: JobSummary::default(),
            already_finished: false,
        }
    }
}

/// A request to end, from outside the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM.
    Terminate,
    /// SIGINT: Ctrl-C.
    Interrupt,
}

impl StopSignal {
    /// The exit code of a process that this signal ended in good order.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 143,
            Self::Interrupt => 130,
        }
    }
}

/// The end of a TaskManager.
#[derive(Debug)]
pub enum TaskManagerOutcome {
    /// The job is over and the JobManager let it go: finished or cancelled (exit 0), or failed with this error (exit as
    /// the JobManager does).
    JobOver(Option<Error>),
    /// A signal ended it: it said goodbye and stopped its tasks.
    Signalled(StopSignal),
    /// It could not go on: refused, no JobManager in time, or user code that does not stop.
    Failed(Error),
}

impl TaskManagerOutcome {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::JobOver(None) => 0,
            Self::JobOver(Some(error)) | Self::Failed(error) => error.kind().exit_code(),
            Self::Signalled(signal) => signal.exit_code(),
        }
    }
}
