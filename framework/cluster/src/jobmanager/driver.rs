use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use flott_control::job::{Fact, JobMaster, JobStatus};
use flott_core::{
    AttemptId, CheckpointId, Clock, ClockReading, ErrorKind, Generation, JobIdentity, LeaderEpoch,
    MonotonicTime, SubtaskIndex, TaskManagerId, task::Failure,
};
use flott_plan::ExecutionPlan;
use flott_runtime::program::JobProgram;
use flott_state::storage::{Manifest, WrittenSnapshot};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    auditing::{Auditing, Audits},
    checkpoints,
    event::{Event, Settled},
    members::{self, Newcomer},
    report::Report,
    waits::{Wait, Waits},
};
use crate::{
    launch::StopSignal,
    rpc::{
        connection::Outbox,
        message::{ToJobManager, ToTaskManager},
    },
    settings::ClusterSettings,
    store::{CheckpointStore, StoreError},
    termination::StopRequests,
};

/// Between two looks at output that readers may not get.
const AUDIT_INTERVAL: Duration = Duration::from_secs(30);

const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Time that the clock has to miss at once to be told of.
const MISSED_MIN: Duration = Duration::from_secs(1);

/// Time for TaskManagers to close their connections when they are let go.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval at which the journal is read for a successor: as soon as silence is noticed, but neither so often that it costs,
/// nor so rarely that nobody knows why the job stands still.
fn look_interval(heartbeat_timeout: Duration) -> Duration {
    heartbeat_timeout.clamp(Duration::from_secs(1), Duration::from_secs(10))
}

/// A registered TaskManager.
pub(super) struct Peer {
    pub(super) exchange_address: String,
    pub(super) outbox: Outbox<ToTaskManager>,
    reading: JoinHandle<()>,
    writing: JoinHandle<()>,
}

/// How the job ended for this JobManager.
pub(super) struct Ending {
    pub(super) status: JobStatus,
    pub(super) failure: Option<Failure>,
    pub(super) is_deposed: bool,
}

/// Owns the JobMaster, feeds it facts and carries out its actions.
pub(super) struct Driver {
    pub(super) program: Arc<JobProgram>,
    pub(super) plan: Arc<ExecutionPlan>,
    pub(super) settings: Arc<ClusterSettings>,
    pub(super) epoch: LeaderEpoch,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) job: JobIdentity,
    pub(super) store: CheckpointStore,
    pub(super) master: JobMaster<WrittenSnapshot>,
    pub(super) report: Report,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) peers: BTreeMap<TaskManagerId, Peer>,
    pub(super) last_peer: TaskManagerId,
    /// Where the subtasks of the last attempt run.
    pub(super) locations: BTreeMap<SubtaskIndex, TaskManagerId>,
    pub(super) attempt: Option<AttemptId>,
    /// The checkpoint that was read last: it is settled, and the next attempt starts from it.
    pub(super) manifest: Option<Arc<Manifest>>,
    pub(super) audits: Audits,
    pub(super) background: JoinSet<()>,
    /// The last look at the journal for a successor.
    pub(super) looking: Option<AbortHandle>,
    pub(super) waits: Waits,
    /// One wait for each checkpoint that is withdrawn, however often that is tried.
    pub(super) withdrawals: BTreeMap<CheckpointId, Wait>,
    /// When the clocks were last read, to find out what the monotonic one has missed.
    pub(super) last_look: ClockReading,
    /// Facts that carrying out an action has brought up.
    pub(super) facts: VecDeque<Fact<WrittenSnapshot>>,
    pub(super) signal: Option<StopSignal>,
    pub(super) ending: Option<Ending>,
}

impl Driver {
    /// Runs until the job is over for this JobManager.
    pub(super) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut stop: StopRequests,
    ) -> (Self, Ending) {
        let mut heartbeats = interval(self.settings.heartbeat_interval);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut progress = interval(PROGRESS_INTERVAL);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval(look_interval(self.settings.heartbeat_timeout));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut audits = interval(AUDIT_INTERVAL);
        audits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut actions = Vec::new();
        self.master.start(self.clock.now(), &mut actions);
        self.carry_out(actions);
        self.feed_waiting();
        let ending = loop {
            if let Some(ending) = self.ending.take() {
                break ending;
            }
            let wait = self.until_deadline();
            tokio::select! {
                biased;
                Some(event) = events.recv() => self.on_event(event),
                () = sleep(wait) => self.on_deadline(),
                signal = stop.next() => self.on_signal(signal),
                _ = heartbeats.tick() => self.send_heartbeats(),
                _ = progress.tick() => self.show(),
                _ = audits.tick() => self.audit(),
                _ = looks.tick() => self.look_for_successor(),
                Some(_) = self.background.join_next() => {}
            }
            self.feed_waiting();
        };
        self.say_farewell(&ending, &mut events).await;
        self.background.shutdown().await;
        (self, ending)
    }

    /// A JobManager that waits for slots, or completes no checkpoint, does not learn otherwise that it was deposed.
    fn look_for_successor(&mut self) {
        if self.looking.as_ref().is_some_and(|looking| !looking.is_finished()) {
            return;
        }
        let (store, events) = (self.store.clone(), self.events.clone());
        self.looking = Some(self.background.spawn(async move {
            match store.look_for_successor().await {
                Ok(()) => {}
                Err(StoreError::Conflict) => drop(events.send(Event::Deposed).await),
                Err(StoreError::Failed(error)) => tracing::debug!(%error, "cannot look for a successor"),
            }
        }));
    }

    fn until_deadline(&self) -> Duration {
        let now = self.clock.now();
        self.master.next_deadline().map_or(Duration::from_secs(3600), |deadline| deadline.since(now))
    }

    /// Tells the JobMaster when the machine was suspended.
    fn look_at_clock(&mut self) {
        let now = ClockReading::now(&*self.clock);
        let missed = self.last_look.missed(now);
        self.last_look = now;
        if missed >= MISSED_MIN {
            let seconds = missed.as_secs();
            self.report.warn(format!(
                "the clock has missed {seconds} s: this machine was suspended, or its time was set"
            ));
            self.feed(Fact::TimeMissed { missed });
        }
    }

    fn on_deadline(&mut self) {
        self.look_at_clock();
        let mut actions = Vec::new();
        self.master.on_deadline(self.clock.now(), &mut actions);
        self.carry_out(actions);
    }

    fn feed_waiting(&mut self) {
        while let Some(fact) = self.facts.pop_front() {
            self.feed(fact);
        }
    }

    /// Tells the JobMaster and does what it asks for.
    pub(super) fn feed(&mut self, fact: Fact<WrittenSnapshot>) {
        self.look_at_clock();
        let mut actions = Vec::new();
        self.master.on_fact(self.clock.now(), fact, &mut actions);
        self.carry_out(actions);
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Joined(newcomer) => self.on_joined(*newcomer),
            Event::FromTaskManager { id, message } => self.on_message(id, message),
            Event::TaskManagerGone { id, reason } => self.on_gone(id, reason),
            Event::GenerationRaised { generation, result } => self.on_raised(generation, result),
            Event::CheckpointRead(manifest) => {
                let checkpoint = manifest.checkpoint;
                self.manifest = Some(manifest);
                self.feed(Fact::CheckpointRead { checkpoint });
            }
            Event::CheckpointUnreadable { checkpoint, reason } => {
                self.report
                    .warn(format!("checkpoint {checkpoint} cannot be read: {reason}; trying an older one"));
                self.feed(Fact::CheckpointUnreadable { checkpoint, reason });
            }
            Event::Settled(result) => self.on_settled(result),
            Event::Swept(swept) => {
                self.report.on_swept(&swept);
                self.feed(Fact::Swept);
            }
            Event::Audited(audited) => {
                self.report.on_audited(&audited, self.clock.now());
                self.audits.on_audited(audited.to_audit);
            }
            Event::CheckpointStored { checkpoint, result } => self.on_stored(checkpoint, result),
            Event::CheckpointWithdrawn { checkpoint, result } => self.on_withdrawn(checkpoint, result),
            Event::SplitsFound { vertex, splits } => self.feed(Fact::SplitsDiscovered { vertex, splits }),
            Event::DiscoveryEnded { vertex } => self.feed(Fact::DiscoveryEnded { vertex }),
            Event::DiscoveryFailed { vertex, failure } => {
                self.feed(Fact::DiscoveryFailed { vertex, failure })
            }
            Event::Deposed => self.feed(Fact::Deposed),
        }
    }

    fn on_joined(&mut self, newcomer: Newcomer) {
        let Newcomer { slots, exchange_address, reader, outbox, writing } = newcomer;
        self.last_peer = self.last_peer.next();
        let id = self.last_peer;
        self.report
            .note(format!("TaskManager {id} joined with {slots} slots, exchange at {exchange_address}"));
        let reading = tokio::spawn(members::listen(id, self.epoch, reader, self.events.clone()));
        self.peers.insert(id, Peer { exchange_address, outbox, reading, writing });
        self.feed(Fact::TaskManagerRegistered { task_manager: id, slots });
    }

    fn on_gone(&mut self, id: TaskManagerId, reason: String) {
        if self.peers.contains_key(&id) {
            self.disconnect(id);
            let restarts = self.report.restarts_told();
            self.feed(Fact::TaskManagerLost { task_manager: id, reason: reason.clone() });
            // A restart that follows says it.
            if self.report.restarts_told() == restarts {
                self.report.warn(format!("TaskManager {id} was lost: {reason}"));
            }
        }
    }

    pub(super) fn disconnect(&mut self, id: TaskManagerId) {
        if let Some(peer) = self.peers.remove(&id) {
            peer.reading.abort();
            // What is written to a TaskManager that counts as lost must not arrive.
            peer.writing.abort();
        }
    }

    fn on_message(&mut self, id: TaskManagerId, message: ToJobManager) {
        if !self.peers.contains_key(&id) {
            tracing::debug!(id = id.0, "ignored a message of a TaskManager that counts as lost");
            return;
        }
        match message {
            ToJobManager::Registered | ToJobManager::Mismatch { .. } => {}
            ToJobManager::Heartbeat { attempt, counters } => {
                self.report.on_counters(id, attempt, counters);
                self.feed(Fact::Heartbeat { task_manager: id });
            }
            ToJobManager::Draining => {
                self.report.note(format!("TaskManager {id} leaves"));
                self.feed(Fact::TaskManagerDraining { task_manager: id });
            }
            ToJobManager::AttemptFailed { attempt, mut failure } => {
                failure.message = format!("TaskManager {id}: {}", failure.message);
                self.feed(Fact::AttemptFailed { attempt, failure });
            }
            ToJobManager::SnapshotDamaged { attempt } => {
                tracing::error!(id = id.0, attempt = attempt.0, "a snapshot file cannot be read");
                self.feed(Fact::SnapshotDamaged);
            }
            ToJobManager::AttemptGone { attempt } => {
                self.feed(Fact::AttemptGone { attempt, task_manager: id });
            }
            ToJobManager::Task { attempt, task, fact } => self.feed(Fact::Task { attempt, task, fact }),
        }
    }

    fn on_raised(&mut self, generation: Generation, result: Result<(), StoreError>) {
        let fact = match result {
            Ok(()) => Fact::GenerationRaised { generation },
            Err(StoreError::Conflict) => Fact::Deposed,
            Err(StoreError::Failed(error)) => {
                Fact::GenerationNotRaised { failure: Failure::from(&error.with_kind(ErrorKind::Transient)) }
            }
        };
        self.feed(fact);
    }

    fn on_settled(&mut self, result: Result<Settled, Failure>) {
        let settled = match result {
            Ok(settled) => settled,
            Err(failure) => return self.feed(Fact::SettleFailed { failure }),
        };
        let Settled { manifest, reports } = settled;
        self.report.on_settled(&reports);
        let hanging = reports.iter().flat_map(|report| report.hanging.iter().cloned());
        self.report.on_hanging(hanging, self.clock.now());
        self.audits.add(reports.iter().flat_map(|report| report.to_audit.iter().cloned()));
        let sweep_for = reports.iter().map(|report| report.sweep_for).max().unwrap_or_default();
        let transaction_timeout = reports.iter().filter_map(|report| report.transaction_timeout).min();
        let restored = manifest.as_ref().map(|manifest| checkpoints::restored(&self.plan, manifest));
        match restored.transpose() {
            Err(error) => self.feed(Fact::SettleFailed { failure: Failure::from(&error) }),
            Ok(restored) => {
                self.feed(Fact::Settled { restored, sweep_for, transaction_timeout });
            }
        }
    }

    /// Looks again at what may hold up readers.
    fn audit(&mut self) {
        let Some(to_audit) = self.audits.start() else { return };
        let auditing = Auditing { program: Arc::clone(&self.program), begun: self.now(), to_audit };
        let events = self.events.clone();
        self.background.spawn(async move {
            let audited = auditing.run().await;
            let _ = events.send(Event::Audited(audited)).await;
        });
    }

    fn on_stored(&mut self, checkpoint: CheckpointId, result: Result<(), StoreError>) {
        match result {
            Ok(()) => self.feed(Fact::CheckpointStored { checkpoint }),
            Err(error) => self.feed(Fact::CheckpointStoreFailed { checkpoint, cause: error.into() }),
        }
    }

    fn on_withdrawn(&mut self, checkpoint: CheckpointId, result: Result<(), StoreError>) {
        let fact = match result {
            Ok(()) => {
                self.withdrawals.remove(&checkpoint);
                Fact::CheckpointWithdrawn { checkpoint }
            }
            Err(StoreError::Conflict) => Fact::Deposed,
            Err(StoreError::Failed(error)) => {
                tracing::warn!(%error, "a checkpoint that was stored too late cannot be withdrawn yet");
                Fact::CheckpointNotWithdrawn { checkpoint }
            }
        };
        self.feed(fact);
    }

    fn on_signal(&mut self, signal: StopSignal) {
        self.signal = Some(signal);
        self.feed(Fact::ShutdownRequested);
    }

    fn send_heartbeats(&mut self) {
        let ids: Vec<_> = self.peers.keys().copied().collect();
        for id in ids {
            self.send(id, ToTaskManager::Heartbeat);
        }
    }

    /// Sends a message; who cannot be reached is lost.
    pub(super) fn send(&mut self, id: TaskManagerId, message: ToTaskManager) {
        let Some(peer) = self.peers.get(&id) else { return };
        if let Err(error) = peer.outbox.send(message) {
            self.disconnect(id);
            self.facts.push_back(Fact::TaskManagerLost { task_manager: id, reason: error.to_string() });
        }
    }

    pub(super) fn show(&mut self) {
        for line in self.waits.overdue() {
            self.report.warn(line);
        }
        let (status, slots) = (self.master.status(), self.master.available_slots());
        self.report.show(status, self.peers.len(), slots, self.now());
    }

    pub(super) fn now(&self) -> MonotonicTime {
        self.clock.now()
    }

    /// Lets the TaskManagers go and waits for their last words.
    async fn say_farewell(&mut self, ending: &Ending, events: &mut mpsc::Receiver<Event>) {
        let is_over = ending.status.is_globally_terminal();
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.send(
                id,
                if is_over {
                    let failure = ending.failure.clone().filter(|_| ending.status == JobStatus::Failed);
                    ToTaskManager::JobOver { failure }
                } else {
                    ToTaskManager::Leave { reason: "the JobManager ends".into() }
                },
            );
        }
        let closing = timeout(FAREWELL_TIMEOUT, async {
            while !self.peers.is_empty() {
                match events.recv().await {
                    Some(Event::FromTaskManager {
                        id,
                        message: ToJobManager::Heartbeat { attempt, counters },
                    }) => {
                        self.report.on_counters(id, attempt, counters);
                    }
                    Some(Event::TaskManagerGone { id, .. }) => self.disconnect(id),
                    Some(_) => {}
                    None => return,
                }
            }
        });
        if closing.await.is_err() {
            tracing::warn!(task_managers = self.peers.len(), "did not wait longer for TaskManagers to leave");
        }
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.disconnect(id);
        }
    }
}
