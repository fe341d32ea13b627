use std::collections::{BTreeMap, BTreeSet};

use flott_core::{AttemptId, CheckpointId, Generation, MonotonicTime, TaskManagerId, VertexId};

use super::{
    Action, Fact, History, JobOutline, JobSettings, JobStatus, closing::Closing, ending::EndingAttempts,
    executing::Execution, recovering::Recovery, sweeps::Sweeps,
};
use crate::{
    checkpoint::{CheckpointCoordinator, CommitProgress},
    liveness::Heartbeats,
    restart::{Refusals, Repetition, RestartStrategy},
    slots::{SlotAssignment, SlotPool},
    splits::{EnumeratorSnapshot, SplitAssignment},
};

/// Decides everything about the one job of this cluster. `S` is what a task acknowledges a checkpoint with.
///
/// The driver calls [`Self::start`] once, [`Self::on_fact`] for everything it learns, and [`Self::on_deadline`] when
/// [`Self::next_deadline`] has come; it carries out the actions in order and answers each as [`Action`] says.
#[derive(Debug)]
pub struct JobMaster<S> {
    pub(super) settings: JobSettings,
    pub(super) outline: JobOutline,
    pub(super) state: State,
    pub(super) liveness: Heartbeats,
    pub(super) slots: SlotPool,
    pub(super) restart: RestartStrategy,
    pub(super) repetition: Repetition,
    pub(super) refusals: Refusals,
    pub(super) checkpoints: CheckpointCoordinator<S>,
    pub(super) commits: CommitProgress,
    pub(super) sources: BTreeMap<VertexId, SplitAssignment>,
    pub(super) discovering: BTreeSet<VertexId>,
    /// The enumerators' parts of the checkpoints under way.
    pub(super) enumerators: BTreeMap<CheckpointId, BTreeMap<VertexId, EnumeratorSnapshot>>,
    pub(super) ending: EndingAttempts,
    pub(super) sweeps: Sweeps,
    pub(super) generation: Generation,
    pub(super) last_attempt: AttemptId,
    pub(super) last_assignment: Vec<SlotAssignment>,
    /// The first failure, while no attempt has run.
    pub(super) failing_since: Option<MonotonicTime>,
    /// Some attempt of this JobManager had every task running.
    pub(super) has_run: bool,
    random: u64,
}

#[derive(Debug)]
pub(super) enum State {
    Created,
    Recovering(Recovery),
    Executing(Execution),
    Closing(Closing),
    Over(JobStatus),
}

impl<S> JobMaster<S> {
    /// `history` is what earlier JobManagers left in the checkpoint directory; `seed` feeds the restart jitter.
    ///
    /// # Panics
    /// When the outline has no vertex, or a vertex without subtasks.
    #[must_use]
    pub fn new(settings: JobSettings, outline: JobOutline, history: History, seed: u64) -> Self {
        assert!(!outline.vertices.is_empty(), "a job has vertices");
        assert!(outline.vertices.iter().all(|vertex| vertex.parallelism > 0), "a vertex has subtasks");
        let checkpoints = CheckpointCoordinator::new(
            settings.checkpoint.clone(),
            outline.tasks(),
            history.completed,
            history.last_checkpoint_id,
        );
        Self {
            state: State::Created,
            liveness: Heartbeats::new(settings.liveness.clone()),
            slots: SlotPool::new(),
            restart: RestartStrategy::new(settings.restart.clone()),
            repetition: Repetition::new(settings.restart.same_failures_max),
            refusals: Refusals::new(settings.refusal_timeout),
            checkpoints,
            commits: CommitProgress::new(outline.committers()),
            sources: outline.sources().map(|(id, _)| (id, SplitAssignment::new())).collect(),
            discovering: BTreeSet::new(),
            enumerators: BTreeMap::new(),
            ending: EndingAttempts::default(),
            sweeps: Sweeps::default(),
            generation: history.generation,
            last_attempt: AttemptId(0),
            last_assignment: Vec::new(),
            failing_since: None,
            has_run: false,
            random: seed,
            settings,
            outline,
        }
    }

    /// Begins: the generation is raised, then what the last checkpoint left open is settled.
    pub fn start(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        if matches!(self.state, State::Created) {
            self.recover_first();
            self.advance(now, out);
        }
    }

    /// Takes one fact. Facts of attempts that are over change nothing.
    pub fn on_fact(&mut self, now: MonotonicTime, fact: Fact<S>, out: &mut Vec<Action<S>>) {
        if self.status().is_over() {
            return;
        }
        self.take(now, fact, out);
        self.advance(now, out);
    }

    /// Does what is due.
    pub fn on_deadline(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        if self.status().is_over() {
            return;
        }
        for id in self.liveness.on_deadline(now) {
            let timeout_ms = self.settings.liveness.heartbeat_timeout.as_millis();
            self.drop_task_manager(now, id, format!("no heartbeat for {timeout_ms} ms"), out);
        }
        for id in self.ending.overdue(now) {
            let timeout_ms = self.settings.cancel_timeout.as_millis();
            self.drop_task_manager(
                now,
                id,
                format!("cancelled tasks did not end within {timeout_ms} ms"),
                out,
            );
        }
        let mut actions = Vec::new();
        self.checkpoints.on_deadline(now, &mut actions);
        self.carry_out(now, actions, out);
        self.advance(now, out);
    }

    /// When [`Self::on_deadline`] has to be called, at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonotonicTime> {
        let of_state = match &self.state {
            State::Over(_) => return None,
            State::Created => None,
            State::Recovering(recovery) => {
                recovery.next_deadline().into_iter().chain(self.slot_deadline(recovery)).min()
            }
            State::Executing(execution) => execution.deadline,
            State::Closing(closing) => Some(closing.next_deadline()),
        };
        let always = [
            self.liveness.next_deadline(),
            self.ending.next_deadline(),
            self.checkpoints.next_deadline(),
            self.sweeps.next_deadline(),
        ];
        always.into_iter().flatten().chain(of_state).min()
    }

    /// Where the job is in its life.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        match &self.state {
            State::Created => JobStatus::Created,
            State::Recovering(recovery) => recovery.status(),
            State::Executing(execution) => execution.status(),
            State::Closing(closing) => closing.status(),
            State::Over(status) => *status,
        }
    }

    /// The attempt that is deployed.
    #[must_use]
    pub fn attempt(&self) -> Option<AttemptId> {
        match &self.state {
            State::Executing(execution) => Some(execution.attempt),
            _ => None,
        }
    }

    /// The newest completed checkpoint.
    #[must_use]
    pub fn latest_checkpoint(&self) -> Option<CheckpointId> {
        self.checkpoints.latest()
    }

    /// Slots that are free now.
    #[must_use]
    pub fn available_slots(&self) -> usize {
        self.slots.available()
    }

    fn take(&mut self, now: MonotonicTime, fact: Fact<S>, out: &mut Vec<Action<S>>) {
        match fact {
            Fact::TaskManagerRegistered { task_manager, slots } => {
                self.on_registered(now, task_manager, slots, out);
            }
            Fact::Heartbeat { task_manager } => {
                self.liveness.on_heartbeat(now, task_manager);
            }
            Fact::TaskManagerDraining { task_manager } => self.on_draining(now, task_manager, out),
            Fact::TaskManagerLost { task_manager, reason } => self.on_lost(now, task_manager, &reason, out),
            Fact::Task { attempt, task, fact } => self.on_task(now, attempt, task, fact, out),
            Fact::AttemptFailed { attempt, failure } => self.on_attempt_failed(now, attempt, failure, out),
            Fact::AttemptGone { attempt, task_manager } => self.on_gone(now, attempt, task_manager, out),
            Fact::CheckpointStored { checkpoint } => self.on_stored(now, checkpoint, out),
            Fact::CheckpointStoreFailed { checkpoint, cause } => {
                self.on_store_failed(now, checkpoint, cause, out);
            }
            Fact::CheckpointWithdrawn { checkpoint } => self.on_withdrawn(now, checkpoint, out),
            Fact::GenerationRaised { generation } => self.on_generation_raised(generation),
            Fact::GenerationNotRaised { failure } => self.on_generation_not_raised(now, failure, out),
            Fact::Settled { restored, sweep_for, transaction_timeout } => {
                self.checkpoints.limit_timeout(transaction_timeout);
                self.on_settled(now, restored, sweep_for, out);
            }
            Fact::SettleFailed { failure } => self.on_settle_failed(now, failure, out),
            Fact::Swept => self.sweeps.on_swept(),
            Fact::SplitsDiscovered { vertex, splits } => self.on_splits_discovered(vertex, splits, out),
            Fact::DiscoveryEnded { vertex } => self.on_discovery_ended(vertex, out),
            Fact::DiscoveryFailed { vertex, failure } => self.on_discovery_failed(now, vertex, failure, out),
            Fact::StopRequested => self.on_stop_requested(now, out),
            Fact::CancelRequested => self.on_cancel_requested(now, out),
            Fact::Deposed => self.step_down(out),
            Fact::TimeMissed { missed } => self.checkpoints.on_time_missed(missed),
        }
    }

    /// Does whatever the present state allows: facts only change what is known, this draws the conclusions.
    fn advance(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        self.advance_execution(now, out);
        self.advance_recovery(now, out);
        self.advance_closing(now, out);
        self.advance_sweeps(now, out);
    }

    fn drop_task_manager(
        &mut self,
        now: MonotonicTime,
        task_manager: TaskManagerId,
        reason: String,
        out: &mut Vec<Action<S>>,
    ) {
        out.push(Action::Disconnect { task_manager, reason: reason.clone() });
        self.on_lost(now, task_manager, &reason, out);
    }

    /// The next number of a splitmix64 sequence.
    pub(super) fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
