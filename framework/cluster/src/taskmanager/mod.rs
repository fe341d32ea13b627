//! The TaskManager: joins a JobManager, runs what it is told to, and reports. It decides nothing about the job.
//!
//! [`membership`] finds the JobManager and finds it again; [`exchange`] is where other TaskManagers reach this one;
//! [`handshake`] makes sure that both run the same program, and [`directory`] that both see the same checkpoints;
//! [`session`] is one registration: the only place that talks to the JobManager, and never blocks. Tasks run on slot
//! threads, snapshots are written by [`snapshots`], so that heartbeats never wait for user code.

mod attempt;
mod deploying;
mod directory;
mod event;
mod exchange;
mod handshake;
mod membership;
mod session;
mod snapshots;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use flott_core::{Clock, LeaderEpoch, SystemClock};
use flott_plan::ExecutionPlan;
use flott_runtime::{exchange::ByteStream, program::JobProgram};
use flott_state::storage::CheckpointStorage;
use tokio::runtime::Handle;

use crate::{launch::BuildProgram, security::Security, settings::ClusterSettings};

pub(crate) use membership::{Membership, serve_pipe};

/// What a TaskManager has before it knows any job.
pub(crate) struct Member {
    pub(crate) build_id: String,
    pub(crate) settings: ClusterSettings,
    pub(crate) security: Security,
    pub(crate) build_program: Arc<BuildProgram>,
    /// Runs connections between TaskManagers.
    pub(crate) network: Handle,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Member {
    pub(crate) fn new(
        build_id: String,
        settings: ClusterSettings,
        security: Security,
        build_program: Arc<BuildProgram>,
        network: Handle,
    ) -> Self {
        Self { build_id, settings, security, build_program, network, clock: Arc::new(SystemClock) }
    }
}

/// The job as this TaskManager runs it, the same as the JobManager's.
pub(crate) struct Job {
    program: JobProgram,
    plan: ExecutionPlan,
    settings: ClusterSettings,
    storage: CheckpointStorage,
    cluster: u64,
    epoch: LeaderEpoch,
}

/// Where a TaskManager's connection to the JobManager comes from.
pub(crate) type Connection = Box<dyn ByteStream>;
