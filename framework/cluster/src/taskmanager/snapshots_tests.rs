use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use flott_core::{
    SubtaskIndex, VertexId,
    snapshot::{OperatorSnapshot, StateSnapshot},
};
use tempfile::TempDir;

use super::*;
use crate::taskmanager::testing::{job, uid};

/// A TaskManager's snapshots, of one operator in one subtask.
struct Kit {
    directory: TempDir,
    writers: SnapshotWriters,
    events: mpsc::Receiver<Event>,
    aborted: watch::Sender<bool>,
}

impl Kit {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (sender, events) = mpsc::channel(8);
        let writers = SnapshotWriters::new(Arc::new(job(&directory).await), sender);
        Self { directory, writers, events, aborted: watch::Sender::new(false) }
    }

    /// Checkpoint 1 of the operator, with one state.
    fn write(&self, content: StateContent) {
        let state = StateSnapshot { declaration: StateDeclaration::value::<u64, u64>("total"), content };
        let operators = vec![(uid(), OperatorSnapshot::new(vec![state]))];
        let task = TaskId::new(VertexId(0), SubtaskIndex(0));
        let (snapshot, aborted) = (FrozenSnapshot { operators }, self.aborted.subscribe());
        self.writers.write(AttemptId(1), task, CheckpointId(1), snapshot, aborted);
    }

    async fn result(&mut self) -> Option<Result<WrittenSnapshot, Failure>> {
        match self.events.recv().await.unwrap() {
            Event::SnapshotWritten { result, .. } => result,
            _ => panic!("snapshots are all that is written"),
        }
    }

    fn has_files(&self) -> bool {
        self.directory.path().join("checkpoints").read_dir().is_ok_and(|mut entries| entries.next().is_some())
    }
}

fn keyed(write: impl FnOnce(&mut dyn KeyedSnapshotSink) -> Result<()> + Send + 'static) -> StateContent {
    StateContent::Keyed(Box::new(write))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_wanted_is_kept() {
    let mut kit = Kit::new().await;
    kit.write(keyed(|sink| sink.key_group(KeyGroup(3), 1, b"seven")));
    let written = kit.result().await.unwrap().unwrap();
    assert!(written.operators[0].file.is_some() && kit.has_files());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_is_dropped_unwritten() {
    let mut kit = Kit::new().await;
    kit.writers.waiters = Arc::new(Semaphore::new(0));
    let has_run = Arc::new(AtomicBool::new(false));
    let running = Arc::clone(&has_run);
    kit.write(StateContent::List(Box::new(move || {
        running.store(true, Ordering::Relaxed);
        Ok(Vec::new())
    })));
    kit.aborted.send_replace(true);
    assert!(kit.result().await.is_none());
    assert_eq!((has_run.load(Ordering::Relaxed), Arc::strong_count(&has_run)), (false, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_being_written_stops() {
    let mut kit = Kit::new().await;
    let aborted = kit.aborted.clone();
    let refusal = Arc::new(Mutex::new(None));
    let refused = Arc::clone(&refusal);
    kit.write(keyed(move |sink| {
        sink.key_group(KeyGroup(0), 1, b"one")?;
        aborted.send_replace(true);
        sink.key_group(KeyGroup(1), 1, b"two").inspect_err(|error| {
            *refused.lock().unwrap() = Some(error.to_string());
        })
    }));
    assert!(kit.result().await.is_none());
    assert_eq!(refusal.lock().unwrap().as_deref(), Some("the checkpoint was aborted"));
    assert!(!kit.has_files());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_one_that_is_finished_too_late_is_deleted() {
    let mut kit = Kit::new().await;
    let aborted = kit.aborted.clone();
    kit.write(keyed(move |sink| {
        sink.key_group(KeyGroup(0), 1, b"one")?;
        aborted.send_replace(true);
        Ok(())
    }));
    assert!(kit.result().await.is_none());
    assert!(!kit.has_files());
}
