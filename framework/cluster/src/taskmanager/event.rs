use std::sync::Arc;

use flott_core::{
    AttemptId, CheckpointId, Error,
    snapshot::FrozenSnapshot,
    task::{Failure, TaskFact, TaskId},
};
use flott_runtime::{deployment::DeployedTasks, exchange::ExchangeSession, task::TaskListener};
use flott_state::storage::WrittenSnapshot;
use tokio::sync::mpsc;

use super::deploying::NotPrepared;
use crate::rpc::message::ToTaskManager;

/// Events that wait for the session at most.
pub(super) const EVENTS_MAX: usize = 16_384;

/// What a session learns.
pub(super) enum Event {
    FromJobManager(ToTaskManager),
    JobManagerGone {
        reason: String,
    },
    Prepared {
        attempt: AttemptId,
        result: Result<Prepared, NotPrepared>,
    },
    Task {
        attempt: AttemptId,
        task: TaskId,
        fact: TaskFact<FrozenSnapshot>,
    },
    SlotStopped {
        attempt: AttemptId,
    },
    SnapshotWritten {
        attempt: AttemptId,
        task: TaskId,
        checkpoint: CheckpointId,
        /// None: the checkpoint was aborted, and nothing of the snapshot is left.
        result: Option<Result<WrittenSnapshot, Failure>>,
    },
    PeerLost {
        attempt: AttemptId,
        error: Error,
    },
}

/// Tasks that can be started: restored and connected.
pub(super) struct Prepared {
    pub(super) tasks: DeployedTasks,
    pub(super) exchange: ExchangeSession,
}

/// Sends the facts that tasks of one attempt report to the session.
pub(super) struct SessionListener {
    pub(super) attempt: AttemptId,
    pub(super) events: mpsc::Sender<Event>,
}

impl TaskListener for SessionListener {
    fn report(&self, task: TaskId, fact: TaskFact<FrozenSnapshot>) {
        send_from_thread(&self.events, Event::Task { attempt: self.attempt, task, fact });
    }
}

/// Sends an event from a thread that may wait. The queue is so long that it waits only when the session hangs.
pub(super) fn send_from_thread(events: &mpsc::Sender<Event>, event: Event) {
    if let Err(mpsc::error::TrySendError::Full(event)) = events.try_send(event) {
        // A closed queue: the session is over and nobody wants to know.
        let _ = events.blocking_send(event);
    }
}

/// A callback for lost peers of an attempt.
pub(super) fn on_peer_lost(
    attempt: AttemptId,
    peers: Vec<String>,
    events: mpsc::Sender<Event>,
) -> Arc<dyn Fn(u32, Error) + Send + Sync> {
    Arc::new(move |peer, error| {
        let address = peers.get(peer as usize).map_or("unknown address", String::as_str);
        let error = error.context(format!("exchange with the TaskManager at {address}"));
        if events.try_send(Event::PeerLost { attempt, error }).is_err() {
            tracing::warn!(attempt = attempt.0, peer, "could not report a lost peer");
        }
    })
}
