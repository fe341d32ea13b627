//! Writes snapshots in the background, a few at a time.

use std::sync::Arc;

use flott_control::{Failure, TaskId};
use flott_core::{
    AttemptId, CheckpointId, Error, OperatorUid, Result, Schema,
    snapshot::{OperatorSnapshot, StateContent, WriteKeyed},
};
use flott_runtime::program::TaskSnapshot;
use flott_state::storage::{CheckpointDirectory, KeyedFile};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
};

use super::{Job, evidence::Event};
use crate::ack::{ListAck, OperatorAck, TaskAck};

/// Keyed states that are encoded at a time: more would take processor time from the slots.
const ENCODERS_MAX: usize = 2;

/// Snapshots that may wait for external systems at a time.
const WAITERS_MAX: usize = 64;

/// Turns what tasks froze into files and acknowledgements.
pub(super) struct SnapshotWriters {
    job: Arc<Job>,
    events: mpsc::Sender<Event>,
    encoders: Arc<Semaphore>,
    waiters: Arc<Semaphore>,
}

type KeyedStates = Vec<(String, Schema, WriteKeyed)>;

impl SnapshotWriters {
    pub(super) fn new(job: Arc<Job>, events: mpsc::Sender<Event>) -> Self {
        let (encoders, waiters) = (Semaphore::new(ENCODERS_MAX), Semaphore::new(WAITERS_MAX));
        Self { job, events, encoders: Arc::new(encoders), waiters: Arc::new(waiters) }
    }

    /// Writes a task's snapshot and reports it. Does not wait.
    pub(super) fn write(&self, attempt: AttemptId, task: TaskId, snapshot: TaskSnapshot) {
        let (job, events) = (Arc::clone(&self.job), self.events.clone());
        let (encoders, waiters) = (Arc::clone(&self.encoders), Arc::clone(&self.waiters));
        tokio::spawn(async move {
            let checkpoint = snapshot.checkpoint;
            let writing = write_task(job, encoders, waiters, attempt, task, snapshot);
            let result = writing.await.map_err(|error| Failure::from(&error));
            if let Err(failure) = &result {
                tracing::warn!(checkpoint = checkpoint.0, %task, %failure, "cannot write a snapshot");
            }
            let _ = events.send(Event::SnapshotWritten { attempt, task, checkpoint, result }).await;
        });
    }
}

async fn write_task(
    job: Arc<Job>,
    encoders: Arc<Semaphore>,
    waiters: Arc<Semaphore>,
    attempt: AttemptId,
    task: TaskId,
    snapshot: TaskSnapshot,
) -> Result<TaskAck> {
    let closed = |_| Error::internal("the snapshot writers are closed");
    let TaskSnapshot { checkpoint, operators } = snapshot;
    let permit = waiters.acquire().await.map_err(closed)?;
    let listed = join(spawn_blocking(move || run_lists(operators)).await)?;
    drop(permit);
    let (mut ack, keyed) = listed;
    if keyed.iter().any(|states| !states.is_empty()) {
        let permit = encoders.acquire().await.map_err(closed)?;
        ack = join(spawn_blocking(move || write_file(&job, checkpoint, attempt, task, ack, keyed)).await)?;
        drop(permit);
    }
    Ok(ack)
}

fn join<T>(joined: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    joined.unwrap_or_else(|error| Err(Error::internal(format!("writing a snapshot panicked: {error}"))))
}

/// Runs the closures of list states, which may block, and sets the keyed states aside.
fn run_lists(operators: Vec<(OperatorUid, OperatorSnapshot)>) -> Result<(TaskAck, Vec<KeyedStates>)> {
    let (mut ack, mut keyed) = (TaskAck::default(), Vec::new());
    for (uid, snapshot) in operators {
        let (mut lists, mut states) = (Vec::new(), KeyedStates::new());
        for state in snapshot.states {
            match state.content {
                StateContent::Keyed(write) => states.push((state.name, state.schema, write)),
                StateContent::List(produce) => {
                    let items = produce().map_err(|error| error.context(format!("operator {uid}")))?;
                    lists.push(ListAck { name: state.name, items });
                }
            }
        }
        ack.operators.push(OperatorAck { uid, file: None, lists });
        keyed.push(states);
    }
    Ok((ack, keyed))
}

/// Writes the task's snapshot file.
fn write_file(
    job: &Job,
    checkpoint: CheckpointId,
    attempt: AttemptId,
    task: TaskId,
    mut ack: TaskAck,
    keyed: Vec<KeyedStates>,
) -> Result<TaskAck> {
    let path =
        CheckpointDirectory::new(checkpoint, job.epoch, attempt).snapshot_file(task.vertex, task.subtask);
    let parallelism = job.plan.vertex(task.vertex).parallelism;
    let key_groups = job.plan.graph.max_parallelism.key_groups(task.subtask, parallelism);
    let mut file = job.storage.create_snapshot(&path, Handle::current())?;
    let mut holders = Vec::new();
    for (operator, states) in ack.operators.iter_mut().zip(keyed) {
        for (name, schema, write) in states {
            if let Err(error) = file.keyed(&operator.uid, &name, schema, write) {
                file.abort();
                return Err(error.context(format!("operator {}, state {name:?}", operator.uid)));
            }
            holders.push(operator.uid.clone());
        }
    }
    let bytes = file.finish()?;
    for operator in ack.operators.iter_mut().filter(|operator| holders.contains(&operator.uid)) {
        operator.file = Some(KeyedFile { path: path.clone(), bytes, key_groups });
    }
    Ok(ack)
}
