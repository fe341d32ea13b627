use std::{collections::BTreeMap, sync::mpsc as blocking};

use flott_core::{
    Barrier, OperatorUid, ProcessingTime, Signal, SubtaskIndex, VertexId,
    operator::{Head, Next, StepTime, TaskEvent},
    snapshot::OperatorSnapshot,
};
use flott_runtime::{
    deployment::DeployedTasks,
    exchange::ExchangeSession,
    slot::SlotWaker,
    task::{Task, TaskListener},
};
use tempfile::TempDir;
use tokio::{io::duplex, runtime::Handle};

use super::*;
use crate::{rpc::connection::split, security::Security, settings::ClusterSettings, taskmanager::testing};

const ONE: AttemptId = AttemptId(1);

async fn session(directory: &TempDir) -> (Session, mpsc::Receiver<Event>) {
    let epoch = LeaderEpoch(1);
    let (settings, security) = (ClusterSettings::default(), Security::none());
    let nothing = Arc::new(|_: &_, _: &_| Err(Error::user("nothing is built")));
    let member = Member::new("build".into(), settings, security, nothing, Handle::current());
    let (_reader, writer) = split(Box::new(duplex(1 << 16).0));
    let (outbox, writing) = Outbox::start(epoch, writer);
    let (events, received) = mpsc::channel(8);
    let job = Arc::new(testing::job(directory).await);
    let session = Session {
        member: Arc::new(member),
        exchange: Arc::new(ExchangeListener::alone()),
        snapshots: SnapshotWriters::new(Arc::clone(&job), events.clone()),
        job,
        epoch,
        outbox: Some(outbox),
        writing,
        attempts: BTreeMap::new(),
        events,
        end: None,
    };
    (session, received)
}

/// An input that holds something: to drop it takes until that is let go.
struct Holding(blocking::Receiver<()>);

impl Drop for Holding {
    fn drop(&mut self) {
        let _ = self.0.recv();
    }
}

impl Head for Holding {
    fn open(&mut self) -> Result<()> {
        Ok(())
    }
    fn is_ready(&mut self) -> bool {
        true
    }
    fn resume(&mut self) -> Result<bool> {
        Ok(true)
    }
    fn read(&mut self, _time: StepTime) -> Result<Next> {
        Ok(Next::Nothing)
    }
    fn signal(&mut self, _signal: Signal) -> Result<()> {
        Ok(())
    }
    fn barrier(
        &mut self,
        _barrier: Barrier,
        _snapshots: &mut Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<()> {
        Ok(())
    }
    fn event(&mut self, _event: TaskEvent, _committed: &mut Vec<(OperatorUid, CheckpointId)>) -> Result<()> {
        Ok(())
    }
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
    fn next_timer(&self) -> Option<ProcessingTime> {
        None
    }
}

struct Deaf;

impl TaskListener for Deaf {
    fn report(&self, _task: TaskId, _fact: TaskFact<FrozenSnapshot>) {}
}

fn prepared(input: Holding) -> Prepared {
    let head = Box::new(input);
    let (_actions, received) = blocking::sync_channel(1);
    let task = Task::new(TaskId::new(VertexId(0), SubtaskIndex(0)), [], head, received, Arc::new(Deaf));
    let tasks = DeployedTasks {
        slots: BTreeMap::from([(SubtaskIndex(0), (SlotWaker::default(), vec![task]))]),
        handles: BTreeMap::new(),
        links: BTreeMap::new(),
        metrics: Vec::new(),
    };
    Prepared { tasks, exchange: ExchangeSession::default() }
}

/// A resource of the operators of an attempt may still be at work, such as a producer that takes its id over.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_cancelled_before_it_starts_is_gone_when_its_operators_are() {
    let directory = TempDir::new().unwrap();
    let (mut session, mut events) = session(&directory).await;
    let (let_go, held) = blocking::channel();
    session.attempts.insert(ONE, Attempt::new(ONE));
    session.cancel(ONE);
    session.on_prepared(ONE, Ok(prepared(Holding(held))));
    session.confirm_gone();
    assert!(session.attempts.contains_key(&ONE), "its operators are not dropped");
    assert!(timeout(Duration::from_millis(50), events.recv()).await.is_err());

    let_go.send(()).unwrap();
    let dropped = timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap();
    session.on_event(dropped);
    session.confirm_gone();
    assert!(session.attempts.is_empty());
}
