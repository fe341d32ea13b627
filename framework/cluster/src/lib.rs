//! The processes of a cluster: they carry out what `control` decides, and report back what happens. They decide nothing
//! themselves.
//!
//! Start with [`run_local`], [`run_jobmanager`] and [`run_taskmanager`]. `jobmanager` owns the journal, the checkpoints
//! and the one loop around the JobMaster; `taskmanager` runs tasks on slot threads; `rpc` is what they say to each other.
//! A local run is both in one process, over a pipe.
#![forbid(unsafe_code)]

mod candidate;
mod jobmanager;
mod launch;
mod progress;
mod roles;
mod rpc;
mod security;
mod settings;
mod store;
mod taskmanager;
mod termination;

pub use flott_control::job::JobStatus;
pub use flott_core::operator::Counters;
pub use launch::{BuildProgram, JobLaunch, JobOutcome, OutcomeStatus, StopSignal, TaskManagerOutcome};
pub use progress::{
    Bytes, CheckpointProgress, JobEvent, JobProgress, JobSummary, OperatorProgress, ProgressListener, Silent,
};
pub use roles::{run_jobmanager, run_local, run_taskmanager};
pub use settings::{ClusterSettings, JOBMANAGER_PORT};
pub use termination::Termination;
