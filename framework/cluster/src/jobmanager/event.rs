use std::sync::Arc;

use flott_core::{
    CheckpointId, Generation, TaskManagerId, VertexId, sink::SettleReport, source::Split, task::Failure,
};

use flott_state::storage::Manifest;

use super::{auditing::Audited, members::Newcomer};
use crate::{rpc::message::ToJobManager, store::StoreError};

/// Events that wait for the driver at most. Who has more to say waits: TCP holds back the TaskManagers.
pub(super) const EVENTS_MAX: usize = 4096;

/// What the driver learns.
pub(super) enum Event {
    /// A TaskManager with the same program.
    Joined(Box<Newcomer>),
    FromTaskManager {
        id: TaskManagerId,
        message: ToJobManager,
    },
    TaskManagerGone {
        id: TaskManagerId,
        reason: String,
    },
    GenerationRaised {
        generation: Generation,
        result: Result<(), StoreError>,
    },
    CheckpointRead(Arc<Manifest>),
    CheckpointUnreadable {
        checkpoint: CheckpointId,
        reason: String,
    },
    Settled(Result<Settled, Failure>),
    Swept(Swept),
    Audited(Audited),
    CheckpointStored {
        checkpoint: CheckpointId,
        result: Result<(), StoreError>,
    },
    CheckpointWithdrawn {
        checkpoint: CheckpointId,
        result: Result<(), StoreError>,
    },
    SplitsFound {
        vertex: VertexId,
        splits: Vec<Split>,
    },
    DiscoveryEnded {
        vertex: VertexId,
    },
    DiscoveryFailed {
        vertex: VertexId,
        failure: Failure,
    },
    Deposed,
}

/// What settling has found and done.
pub(super) struct Settled {
    pub(super) manifest: Option<Arc<Manifest>>,
    pub(super) reports: Vec<SettleReport>,
}

/// What a sweep has done.
#[derive(Default)]
pub(super) struct Swept {
    /// What was removed.
    pub(super) names: Vec<String>,
    /// Sinks that could not be swept, and why.
    pub(super) failures: Vec<String>,
}
