//! Writes snapshots in the background, a few at a time.

use std::sync::Arc;

use flott_core::{
    AttemptId, CheckpointId, Error, KeyGroup, Result, panic,
    snapshot::{FrozenSnapshot, KeyedSnapshotSink, StateContent, WriteKeyed},
    state::StateDeclaration,
    task::{Failure, TaskId},
};
use flott_state::storage::{CheckpointDirectory, KeyedFile, WrittenList, WrittenOperator, WrittenSnapshot};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::spawn_blocking,
};

use super::{Job, event::Event};

/// Keyed states that are encoded at a time: more would take processor time from the slots.
const ENCODERS_MAX: usize = 2;

/// Snapshots that may wait for external systems at a time.
const WAITERS_MAX: usize = 64;

/// Turns frozen snapshots of tasks into written ones.
pub(super) struct SnapshotWriters {
    job: Arc<Job>,
    events: mpsc::Sender<Event>,
    encoders: Arc<Semaphore>,
    waiters: Arc<Semaphore>,
}

type KeyedStates = Vec<(StateDeclaration, WriteKeyed)>;

impl SnapshotWriters {
    pub(super) fn new(job: Arc<Job>, events: mpsc::Sender<Event>) -> Self {
        let (encoders, waiters) = (Semaphore::new(ENCODERS_MAX), Semaphore::new(WAITERS_MAX));
        Self { job, events, encoders: Arc::new(encoders), waiters: Arc::new(waiters) }
    }

    /// Writes a task's snapshot and reports it, unless `aborted` becomes true before. Does not wait.
    pub(super) fn write(
        &self,
        attempt: AttemptId,
        task: TaskId,
        checkpoint: CheckpointId,
        snapshot: FrozenSnapshot,
        aborted: watch::Receiver<bool>,
    ) {
        let writing = Writing { job: Arc::clone(&self.job), attempt, task, checkpoint, aborted };
        let (encoders, waiters) = (Arc::clone(&self.encoders), Arc::clone(&self.waiters));
        let events = self.events.clone();
        tokio::spawn(async move {
            let result = writing.run(encoders, waiters, snapshot).await;
            let result = result.map(|result| result.map_err(|error| Failure::from(&error)));
            if let Some(Err(failure)) = &result {
                tracing::warn!(checkpoint = checkpoint.0, %task, %failure, "cannot write a snapshot");
            }
            let _ = events.send(Event::SnapshotWritten { attempt, task, checkpoint, result }).await;
        });
    }
}

/// A task's snapshot on its way to storage.
#[derive(Clone)]
struct Writing {
    job: Arc<Job>,
    attempt: AttemptId,
    task: TaskId,
    checkpoint: CheckpointId,
    aborted: watch::Receiver<bool>,
}

impl Writing {
    /// None: the checkpoint was aborted, and nothing of the snapshot is left.
    async fn run(
        self,
        encoders: Arc<Semaphore>,
        waiters: Arc<Semaphore>,
        snapshot: FrozenSnapshot,
    ) -> Option<Result<WrittenSnapshot>> {
        let result = self.write(encoders, waiters, snapshot).await;
        if !self.is_aborted() {
            return Some(result);
        }
        // The JobManager has deleted what was there when it gave the checkpoint up.
        if result.is_ok_and(|written| written.operators.iter().any(|operator| operator.file.is_some())) {
            self.delete_files().await;
        }
        None
    }

    /// Whatever is dropped is dropped by a thread that may block.
    async fn write(
        &self,
        encoders: Arc<Semaphore>,
        waiters: Arc<Semaphore>,
        snapshot: FrozenSnapshot,
    ) -> Result<WrittenSnapshot> {
        let turn = self.turn(waiters).await;
        let listing = move || turn.and_then(|_permit| run_lists(snapshot));
        let (written, keyed) = join(spawn_blocking(listing).await)?;
        if keyed.iter().all(|states| states.is_empty()) {
            return Ok(written);
        }
        let turn = self.turn(encoders).await;
        let writing = self.clone();
        join(spawn_blocking(move || turn.and_then(|_permit| writing.write_file(written, keyed))).await)
    }

    /// Waits until it is this snapshot's turn, or nobody wants it any more.
    async fn turn(&self, turns: Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
        let mut aborted = self.aborted.clone();
        tokio::select! {
            biased;
            Ok(_) = aborted.wait_for(|&is_aborted| is_aborted) => Err(was_aborted()),
            permit = turns.acquire_owned() => permit.map_err(|_| Error::internal("the snapshot writers are closed")),
        }
    }

    fn is_aborted(&self) -> bool {
        *self.aborted.borrow()
    }

    fn directory(&self) -> CheckpointDirectory {
        CheckpointDirectory::new(self.checkpoint, self.job.epoch, self.attempt)
    }

    async fn delete_files(&self) {
        if let Err(error) = self.job.storage.discard(self.directory().as_str()).await {
            tracing::warn!(%error, "cannot delete the files of an aborted checkpoint");
        }
    }

    /// Writes the task's snapshot file.
    fn write_file(&self, mut snapshot: WrittenSnapshot, keyed: Vec<KeyedStates>) -> Result<WrittenSnapshot> {
        let TaskId { vertex, subtask } = self.task;
        let path = self.directory().snapshot_file(vertex, subtask);
        let plan = &self.job.plan;
        let key_groups = plan.graph.max_parallelism.key_groups(subtask, plan.vertex(vertex).parallelism);
        let mut file = self.job.storage.create_snapshot(&path, Handle::current())?;
        let mut holders = Vec::new();
        for (operator, states) in snapshot.operators.iter_mut().zip(keyed) {
            for (declaration, write) in states {
                let name = declaration.name.clone();
                let write = until_aborted(write, self.aborted.clone());
                // Records are encoded by what may be the user's own code.
                let written = panic::catch(|| file.keyed(&operator.uid, declaration, write));
                if let Err(error) = written {
                    file.abort();
                    return Err(error.context(format!("operator {}, state {name:?}", operator.uid)));
                }
                holders.push(operator.uid.clone());
            }
        }
        let bytes = file.finish()?;
        for operator in snapshot.operators.iter_mut().filter(|operator| holders.contains(&operator.uid)) {
            operator.file = Some(KeyedFile { path: path.clone(), bytes, key_groups });
        }
        Ok(snapshot)
    }
}

fn was_aborted() -> Error {
    Error::transient("the checkpoint was aborted")
}

/// Writes a state until nobody wants it any more.
fn until_aborted(write: WriteKeyed, aborted: watch::Receiver<bool>) -> WriteKeyed {
    struct UntilAborted<'s> {
        sink: &'s mut dyn KeyedSnapshotSink,
        aborted: watch::Receiver<bool>,
    }
    impl KeyedSnapshotSink for UntilAborted<'_> {
        fn key_group(&mut self, group: KeyGroup, entries: u64, bytes: &[u8]) -> Result<()> {
            if *self.aborted.borrow() {
                return Err(was_aborted());
            }
            self.sink.key_group(group, entries, bytes)
        }
    }
    Box::new(move |sink| write(&mut UntilAborted { sink, aborted }))
}

fn join<T>(joined: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    joined.unwrap_or_else(|error| Err(Error::internal(format!("writing a snapshot panicked: {error}"))))
}

/// Runs the closures of list states, which may block, and sets the keyed states aside.
fn run_lists(snapshot: FrozenSnapshot) -> Result<(WrittenSnapshot, Vec<KeyedStates>)> {
    let (mut written, mut keyed) = (WrittenSnapshot::default(), Vec::new());
    for (uid, snapshot) in snapshot.operators {
        let counters = snapshot.counters;
        let (mut lists, mut states) = (Vec::new(), KeyedStates::new());
        for state in snapshot.states {
            match state.content {
                StateContent::Keyed(write) => states.push((state.declaration, write)),
                StateContent::List(produce) => {
                    let items = produce().map_err(|error| error.context(format!("operator {uid}")))?;
                    lists.push(WrittenList { name: state.declaration.name, items });
                }
            }
        }
        written.operators.push(WrittenOperator { uid, file: None, lists, counters });
        keyed.push(states);
    }
    Ok((written, keyed))
}

#[cfg(test)]
#[path = "snapshots_tests.rs"]
mod tests;
