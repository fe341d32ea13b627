use std::{collections::BTreeMap, sync::Arc, time::Duration};

use flott_core::{
    AttemptId, CheckpointId, Error, ErrorKind, LeaderEpoch, Result,
    snapshot::FrozenSnapshot,
    task::{Failure, TaskFact, TaskId},
};
use flott_runtime::exchange::ExchangeListener;
use flott_state::storage::WrittenSnapshot;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use super::{
    Job, Member,
    attempt::Attempt,
    deploying::{self, NotPrepared},
    event::{EVENTS_MAX, Event, Prepared},
    handshake::Registration,
    snapshots::SnapshotWriters,
};
use crate::{
    launch::StopSignal,
    rpc::{
        connection::{Outbox, Reader, receive},
        message::{Deploy, ToJobManager, ToTaskManager},
    },
    termination::StopRequests,
};

/// Time to send the last words.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// How a registration ended.
pub(super) enum SessionEnd {
    /// The JobManager went away: another one may come.
    JobManagerGone(String),
    /// The job is over.
    JobOver(Option<Failure>),
    /// A signal asked this TaskManager to end.
    Signalled(StopSignal),
    /// User code does not stop: this process has to end.
    Stuck(Error),
}

/// One registration with a JobManager. When it ends, nothing of it runs any more.
pub(super) struct Session {
    member: Arc<Member>,
    exchange: Arc<ExchangeListener>,
    job: Arc<Job>,
    epoch: LeaderEpoch,
    outbox: Option<Outbox<ToJobManager>>,
    writing: JoinHandle<()>,
    attempts: BTreeMap<AttemptId, Attempt>,
    events: mpsc::Sender<Event>,
    snapshots: SnapshotWriters,
    /// Set when it is to end, as soon as the last task has gone.
    end: Option<SessionEnd>,
}

impl Session {
    /// Runs until the registration ends.
    pub(super) async fn run(
        member: Arc<Member>,
        registration: Registration,
        stop: &mut StopRequests,
    ) -> SessionEnd {
        let Registration { epoch, job, exchange, reader, outbox, writing } = registration;
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let reading = tokio::spawn(read(reader, epoch, events.clone()));
        let snapshots = SnapshotWriters::new(Arc::clone(&job), events.clone());
        let session = Self {
            member,
            exchange,
            job,
            epoch,
            outbox: Some(outbox),
            writing,
            attempts: BTreeMap::new(),
            events,
            snapshots,
            end: None,
        };
        let end = session.serve(received, stop).await;
        reading.abort();
        end
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "when to give the JobManager up, in the time of the timer that wakes"
    )]
    async fn serve(mut self, mut events: mpsc::Receiver<Event>, stop: &mut StopRequests) -> SessionEnd {
        let settings = &self.job.settings;
        let (silence_max, period) = (settings.heartbeat_timeout, settings.heartbeat_interval);
        let mut heartbeats = interval(period);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        while self.end.is_none() || !self.attempts.is_empty() {
            tokio::select! {
                biased;
                Some(event) = events.recv() => {
                    if matches!(event, Event::FromJobManager(_)) {
                        heard = Instant::now();
                    }
                    self.on_event(event);
                }
                signal = stop.next() => self.on_signal(signal),
                _ = heartbeats.tick() => self.heartbeat(),
                () = sleep_until(heard + silence_max), if self.end.is_none() => {
                    self.leave(SessionEnd::JobManagerGone(format!("no heartbeat for {silence_max:?}")));
                }
            }
            self.confirm_gone();
        }
        self.outbox = None;
        // A JobManager that is frozen does not read any more.
        if timeout(FLUSH_TIMEOUT, &mut self.writing).await.is_err() {
            self.writing.abort();
        }
        self.end.unwrap_or(SessionEnd::JobManagerGone(String::new()))
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::FromJobManager(message) => self.on_message(message),
            Event::JobManagerGone { reason } => self.leave(SessionEnd::JobManagerGone(reason)),
            Event::Prepared { attempt, result } => self.on_prepared(attempt, result),
            Event::Task { attempt, task, fact } => self.on_task(attempt, task, fact),
            Event::SlotStopped { attempt } => self.with(attempt, Attempt::on_slot_stopped),
            Event::SnapshotWritten { attempt, task, checkpoint, result } => {
                self.with(attempt, Attempt::on_snapshot_ended);
                self.on_snapshot(attempt, task, checkpoint, result);
            }
            Event::PeerLost { attempt, error } => self.fail(attempt, &error),
        }
    }

    fn on_message(&mut self, message: ToTaskManager) {
        let job = Arc::clone(&self.job);
        match message {
            ToTaskManager::Heartbeat => {}
            ToTaskManager::Deploy(deploy) => self.deploy(*deploy),
            ToTaskManager::Cancel { attempt } => self.cancel(attempt),
            ToTaskManager::ToTask { attempt, task, action } => {
                self.with(attempt, |attempt| attempt.tell(task, action));
            }
            ToTaskManager::TriggerCheckpoint { attempt, checkpoint, kind } => {
                self.with(attempt, |attempt| attempt.trigger(&job.plan, checkpoint, kind));
            }
            ToTaskManager::CheckpointComplete { attempt, checkpoint } => {
                self.with(attempt, |attempt| attempt.complete(checkpoint));
            }
            ToTaskManager::AbortCheckpoint { attempt, checkpoint } => {
                self.with(attempt, |attempt| attempt.abort_checkpoint(checkpoint));
            }
            ToTaskManager::JobOver { failure } => self.leave(SessionEnd::JobOver(failure)),
            ToTaskManager::Leave { reason } => self.leave(SessionEnd::JobManagerGone(reason)),
        }
    }

    fn deploy(&mut self, deploy: Deploy) {
        let id = deploy.attempt;
        tracing::info!(
            attempt = id.0,
            restored = deploy.restore.as_ref().map(|manifest| manifest.checkpoint.0),
            "deploying tasks"
        );
        let attempt = Attempt::new(id);
        let cancelled = attempt.cancelled();
        self.attempts.insert(id, attempt);
        let (member, exchange) = (Arc::clone(&self.member), Arc::clone(&self.exchange));
        let (job, events) = (Arc::clone(&self.job), self.events.clone());
        let epoch = self.epoch.0;
        tokio::spawn(async move {
            let result =
                deploying::prepare(member, exchange, job, epoch, deploy, cancelled, events.clone()).await;
            let _ = events.send(Event::Prepared { attempt: id, result }).await;
        });
    }

    fn on_prepared(&mut self, id: AttemptId, result: Result<Prepared, NotPrepared>) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let error = match result {
            Ok(prepared) if !attempt.is_cancelled() => {
                match attempt.start(prepared, &self.member.clock, &self.events) {
                    Ok(()) => return,
                    Err(error) => error,
                }
            }
            Ok(prepared) => {
                // Dropping operators may block on what they hold. Until then the attempt is not gone.
                let events = self.events.clone();
                tokio::spawn(async move {
                    let dropping = tokio::task::spawn_blocking(move || drop(prepared));
                    if let Err(error) = dropping.await {
                        tracing::error!(%error, "operators that were not needed any more panicked");
                    }
                    let result = Err(NotPrepared::Cancelled);
                    let _ = events.send(Event::Prepared { attempt: id, result }).await;
                });
                return;
            }
            Err(NotPrepared::Cancelled) => return attempt.give_up(),
            Err(NotPrepared::Failed(error)) => {
                attempt.give_up();
                error
            }
            Err(NotPrepared::Damaged(error)) => {
                attempt.give_up();
                self.send(ToJobManager::SnapshotDamaged { attempt: id });
                error.with_kind(ErrorKind::Transient)
            }
        };
        self.fail(id, &error);
        self.cancel(id);
    }

    /// Facts go to the JobManager as they are; a snapshot has to be written first.
    fn on_task(&mut self, attempt: AttemptId, task: TaskId, fact: TaskFact<FrozenSnapshot>) {
        match fact.into_snapshot() {
            Ok((checkpoint, snapshot)) => {
                if let Some(running) = self.attempts.get_mut(&attempt) {
                    let aborted = running.on_snapshot_begun(checkpoint);
                    self.snapshots.write(attempt, task, checkpoint, snapshot, aborted);
                }
            }
            Err(fact) => self.report(attempt, task, fact),
        }
    }

    fn on_snapshot(
        &mut self,
        attempt: AttemptId,
        task: TaskId,
        checkpoint: CheckpointId,
        result: Option<Result<WrittenSnapshot, Failure>>,
    ) {
        let fact = match result {
            None => return,
            Some(Ok(snapshot)) => TaskFact::Snapshot { checkpoint, snapshot },
            // State that cannot be written now cannot be written later either.
            Some(Err(failure)) if failure.kind == ErrorKind::State => TaskFact::Failed { failure },
            Some(Err(failure)) => TaskFact::Declined { checkpoint, reason: failure.message },
        };
        self.report(attempt, task, fact);
    }

    fn heartbeat(&mut self) {
        let now = self.member.clock.now();
        if let Some((id, _)) = self.attempts.iter().find(|(_, attempt)| attempt.is_overdue(now)) {
            let timeout = self.job.settings.cancel_timeout;
            let message = format!(
                "user code of attempt {id} did not stop within {timeout:?}; this process has to end to be rid of it. \
                 Operators and connectors must not block: look at what its slot threads wait for"
            );
            self.attempts.clear();
            self.end = Some(SessionEnd::Stuck(Error::user(message)));
            return;
        }
        let newest = self.attempts.iter().next_back();
        let (attempt, counters) =
            newest.map_or((None, Vec::new()), |(&id, attempt)| (Some(id), attempt.counters()));
        self.send(ToJobManager::Heartbeat { attempt, counters });
    }

    fn on_signal(&mut self, signal: StopSignal) {
        tracing::info!(?signal, "asked to end");
        if matches!(self.end, Some(SessionEnd::Signalled(_))) {
            // Asked twice: go at once, whatever still runs.
            self.attempts.clear();
            return;
        }
        self.send(ToJobManager::Draining);
        self.leave(SessionEnd::Signalled(signal));
    }

    /// Ends all tasks, and then the session. Who is asked to end does not wait for another JobManager.
    fn leave(&mut self, end: SessionEnd) {
        self.heartbeat();
        let is_open = match (&self.end, &end) {
            (None, _) => true,
            (Some(SessionEnd::JobManagerGone(_)), SessionEnd::Signalled(_)) => true,
            (Some(_), _) => false,
        };
        if is_open {
            self.end = Some(end);
        }
        let (now, timeout) = (self.member.clock.now(), self.job.settings.cancel_timeout);
        self.attempts.values_mut().for_each(|attempt| attempt.cancel(now, timeout));
    }

    fn cancel(&mut self, id: AttemptId) {
        let (now, timeout) = (self.member.clock.now(), self.job.settings.cancel_timeout);
        match self.attempts.get_mut(&id) {
            Some(attempt) => attempt.cancel(now, timeout),
            None => self.send(ToJobManager::AttemptGone { attempt: id }),
        }
    }

    fn confirm_gone(&mut self) {
        let is_gone = |attempt: &Attempt| attempt.is_cancelled() && attempt.is_gone();
        let gone: Vec<_> =
            self.attempts.iter().filter(|(_, attempt)| is_gone(attempt)).map(|(&id, _)| id).collect();
        for attempt in gone {
            if let Some(gone) = self.attempts.remove(&attempt) {
                // The last numbers: those of the last heartbeat may be a second old.
                let counters = gone.counters();
                self.send(ToJobManager::Heartbeat { attempt: Some(attempt), counters });
            }
            tracing::debug!(attempt = attempt.0, "nothing of the attempt runs here any more");
            self.send(ToJobManager::AttemptGone { attempt });
        }
    }

    fn fail(&mut self, attempt: AttemptId, error: &Error) {
        if self.attempts.get(&attempt).is_some_and(|attempt| !attempt.is_cancelled()) {
            tracing::warn!(attempt = attempt.0, %error, "the attempt cannot go on");
            self.send(ToJobManager::AttemptFailed { attempt, failure: Failure::from(error) });
        }
    }

    fn report(&mut self, attempt: AttemptId, task: TaskId, fact: TaskFact<WrittenSnapshot>) {
        self.send(ToJobManager::Task { attempt, task, fact });
    }

    fn with(&mut self, attempt: AttemptId, run: impl FnOnce(&mut Attempt)) {
        match self.attempts.get_mut(&attempt) {
            Some(attempt) => run(attempt),
            None => tracing::debug!(attempt = attempt.0, "ignored news of an attempt that is over"),
        }
    }

    fn send(&mut self, message: ToJobManager) {
        let sent = self.outbox.as_ref().map_or(Ok(()), |outbox| outbox.send(message));
        if let Err(error) = sent {
            tracing::debug!(%error, "cannot tell the JobManager");
            self.outbox = None;
            self.leave(SessionEnd::JobManagerGone(error.to_string()));
        }
    }
}

async fn read(mut reader: Reader, epoch: LeaderEpoch, events: mpsc::Sender<Event>) {
    let reason = loop {
        match receive(&mut reader, epoch).await {
            Ok(Some(message)) => {
                if events.send(Event::FromJobManager(message)).await.is_err() {
                    return;
                }
            }
            Ok(None) => break "it closed the connection".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    let _ = events.send(Event::JobManagerGone { reason }).await;
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
