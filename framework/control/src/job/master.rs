use std::ops::ControlFlow;

use flott_core::{
    AttemptId, CheckpointId, MonotonicTime, TaskManagerId,
    task::{TaskFact, TaskId},
};

use super::{
    Action, Fact, History, JobOutline, JobSettings, JobStatus, ShutdownStep,
    created::Created,
    over::Over,
    state::{JobState, State, Turn},
    world::{Verdict, World},
};
use crate::checkpoint::{AckRefusal, CheckpointAction, CheckpointCoordinator};

/// Decides everything about the one job of this cluster. `S` is what a task acknowledges a checkpoint with.
///
/// The driver calls [`Self::start`] once, [`Self::on_fact`] for everything it learns, and [`Self::on_deadline`] when
/// [`Self::next_deadline`] has come; it carries out the actions in order and answers each as [`Action`] says.
#[derive(Debug)]
pub struct JobMaster<S> {
    world: World<S>,
    state: State,
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
        Self { world: World::new(settings, outline, history, seed), state: State::Created(Created) }
    }

    /// Begins: the generation is raised, then what the last checkpoint left open is settled.
    pub fn start(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        if self.status().is_over() {
            return;
        }
        self.react(now, out, |state, turn| state.on_start(turn));
        self.advance(now, out);
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
        for (id, reason) in self.world.silent(now) {
            self.drop_task_manager(now, id, reason, out);
        }
        for (id, reason) in self.world.overdue(now) {
            self.drop_task_manager(now, id, reason, out);
        }
        self.tell_coordinator(now, out, |coordinator, actions| coordinator.on_deadline(now, actions));
        self.advance(now, out);
    }

    /// When [`Self::on_deadline`] has to be called, at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonotonicTime> {
        if self.status().is_over() {
            return None;
        }
        let of_state = self.state().next_deadline(&self.world);
        [of_state, self.world.next_deadline()].into_iter().flatten().min()
    }

    /// Where the job is in its life.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        self.state().status()
    }

    /// The attempt that is deployed.
    #[must_use]
    pub fn attempt(&self) -> Option<AttemptId> {
        self.state().attempt()
    }

    /// The newest completed checkpoint.
    #[must_use]
    pub fn latest_checkpoint(&self) -> Option<CheckpointId> {
        self.world.checkpoints.latest()
    }

    /// Slots that are free now.
    #[must_use]
    pub fn available_slots(&self) -> usize {
        self.world.slots.available()
    }

    fn state(&self) -> &dyn JobState<S> {
        self.state.as_job_state()
    }

    /// The world takes note of a fact first, then the state reacts to it.
    fn take(&mut self, now: MonotonicTime, fact: Fact<S>, out: &mut Vec<Action<S>>) {
        match fact {
            Fact::TaskManagerRegistered { task_manager, slots } => {
                self.world.on_registered(now, task_manager, slots, out);
            }
            Fact::Heartbeat { task_manager } => self.world.on_heartbeat(now, task_manager),
            Fact::TaskManagerDraining { task_manager } => {
                if self.world.slots.drain(task_manager) {
                    self.react(now, out, |state, turn| state.on_task_manager_draining(turn, task_manager));
                }
            }
            Fact::TaskManagerLost { task_manager, reason } => self.on_lost(now, task_manager, &reason, out),
            Fact::Task { attempt, task, fact } => self.take_of_task(now, attempt, task, fact, out),
            Fact::AttemptFailed { attempt, failure } => {
                self.react(now, out, |state, turn| state.on_attempt_failed(turn, attempt, failure));
            }
            Fact::AttemptGone { attempt, task_manager } => {
                self.world.on_gone(attempt, task_manager);
                self.react(now, out, |state, turn| state.on_attempt_gone(turn, attempt, task_manager));
            }
            Fact::SnapshotDamaged => self.world.history.on_snapshot_damaged(),
            Fact::CheckpointStored { checkpoint } => {
                self.tell_coordinator(now, out, |coordinator, actions| {
                    coordinator.on_stored(now, checkpoint, actions);
                });
            }
            Fact::CheckpointStoreFailed { checkpoint, cause } => {
                self.tell_coordinator(now, out, |coordinator, actions| {
                    coordinator.on_store_failed(now, checkpoint, cause, actions);
                });
            }
            Fact::CheckpointWithdrawn { checkpoint } => {
                self.tell_coordinator(now, out, |coordinator, actions| {
                    coordinator.on_withdrawn(now, checkpoint, actions);
                });
            }
            Fact::CheckpointNotWithdrawn { checkpoint } => {
                self.world.checkpoints.on_not_withdrawn(now, checkpoint);
            }
            Fact::GenerationRaised { generation } => {
                self.world.on_generation_raised(generation);
                self.state.as_job_state_mut::<S>().on_generation_raised();
            }
            Fact::GenerationNotRaised { failure } => {
                self.react(now, out, |state, turn| state.on_generation_not_raised(turn, failure));
            }
            Fact::CheckpointRead { checkpoint } => self.react(now, out, |state, turn| {
                state.on_checkpoint_read(turn, checkpoint);
                ControlFlow::Continue(())
            }),
            Fact::CheckpointUnreadable { checkpoint, reason } => {
                self.react(now, out, |state, turn| state.on_checkpoint_unreadable(turn, checkpoint, &reason));
            }
            Fact::Settled { restored, sweep_for, transaction_timeout } => {
                self.world.checkpoints.limit_timeout(transaction_timeout);
                self.react(now, out, |state, turn| state.on_settled(turn, restored, sweep_for));
            }
            Fact::SettleFailed { failure } => {
                self.react(now, out, |state, turn| state.on_settle_failed(turn, failure));
            }
            Fact::Swept => self.world.sweeps.on_swept(),
            Fact::SplitsDiscovered { vertex, splits } => {
                self.world.sources.on_discovered(vertex, splits, out)
            }
            Fact::DiscoveryEnded { vertex } => self.world.sources.on_discovery_ended(vertex, out),
            Fact::DiscoveryFailed { vertex, mut failure } => {
                if self.world.sources.on_discovery_failed(vertex) {
                    failure.message = format!("split discovery of vertex {vertex}: {}", failure.message);
                    self.react(now, out, |state, turn| state.on_discovery_failed(turn, failure));
                }
            }
            Fact::ShutdownRequested => self.on_shutdown_requested(now, out),
            Fact::StopRequested => self.react(now, out, |state, turn| state.on_stop_requested(turn)),
            Fact::CancelRequested => self.react(now, out, |state, turn| state.on_cancel_requested(turn)),
            Fact::Deposed => self.step_down(out),
            Fact::TimeMissed { missed } => self.world.checkpoints.on_time_missed(missed),
        }
    }

    fn take_of_task(
        &mut self,
        now: MonotonicTime,
        attempt: AttemptId,
        task: TaskId,
        fact: TaskFact<S>,
        out: &mut Vec<Action<S>>,
    ) {
        let refuse =
            |checkpoint, refusal: AckRefusal| Action::RefuseAck { attempt, checkpoint, task, refusal };
        match fact {
            TaskFact::Running => self.react(now, out, |state, turn| {
                state.on_task_running(turn, attempt, task);
                ControlFlow::Continue(())
            }),
            TaskFact::Ended => self.react(now, out, |state, turn| {
                state.on_task_ended(turn, attempt, task);
                ControlFlow::Continue(())
            }),
            TaskFact::Committed { checkpoint } => {
                self.state.as_job_state_mut::<S>().on_committed(attempt, task, checkpoint);
            }
            TaskFact::Failed { mut failure } => {
                failure.message = format!("task {task}: {}", failure.message);
                self.react(now, out, |state, turn| state.on_attempt_failed(turn, attempt, failure));
            }
            TaskFact::Snapshot { checkpoint, snapshot } => {
                let mut actions = Vec::new();
                let coordinator = &mut self.world.checkpoints;
                let taken = coordinator.on_ack(now, attempt, checkpoint, task, snapshot, &mut actions);
                out.extend(taken.err().map(|refusal| refuse(checkpoint, refusal)));
                self.carry_out(now, actions, out);
            }
            TaskFact::Declined { checkpoint, reason } => {
                let mut actions = Vec::new();
                let coordinator = &mut self.world.checkpoints;
                let taken = coordinator.on_decline(now, attempt, checkpoint, task, &reason, &mut actions);
                out.extend(taken.err().map(|refusal| refuse(checkpoint, refusal)));
                self.carry_out(now, actions, out);
            }
        }
    }

    fn on_shutdown_requested(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        let step = self.world.history.on_shutdown_requested();
        out.push(Action::ReportShutdown { step });
        self.react(now, out, |state, turn| match step {
            ShutdownStep::Stop => state.on_stop_requested(turn),
            ShutdownStep::Cancel => state.on_cancel_requested(turn),
            ShutdownStep::Abandon => {
                ControlFlow::Break(State::Over(Over::finish(turn, JobStatus::Suspended, None)))
            }
        });
    }

    /// Draws the conclusions of what is known, in one state after the other.
    fn advance(&mut self, now: MonotonicTime, out: &mut Vec<Action<S>>) {
        let mut turn = Turn { now, world: &mut self.world, out };
        while let ControlFlow::Break(next) = self.state.as_job_state_mut().advance(&mut turn) {
            self.state = next;
        }
        self.world.sweep_if_due(now, out);
    }

    /// The state reacts, and another one follows if it says so.
    fn react(
        &mut self,
        now: MonotonicTime,
        out: &mut Vec<Action<S>>,
        react: impl FnOnce(&mut dyn JobState<S>, &mut Turn<'_, S>) -> ControlFlow<State>,
    ) {
        let mut turn = Turn { now, world: &mut self.world, out };
        if let ControlFlow::Break(next) = react(self.state.as_job_state_mut(), &mut turn) {
            self.state = next;
        }
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

    fn on_lost(&mut self, now: MonotonicTime, id: TaskManagerId, reason: &str, out: &mut Vec<Action<S>>) {
        self.world.on_lost(id);
        self.react(now, out, |state, turn| state.on_task_manager_lost(turn, id, reason));
    }

    fn tell_coordinator(
        &mut self,
        now: MonotonicTime,
        out: &mut Vec<Action<S>>,
        tell: impl FnOnce(&mut CheckpointCoordinator<S>, &mut Vec<CheckpointAction<S>>),
    ) {
        let mut actions = Vec::new();
        tell(&mut self.world.checkpoints, &mut actions);
        self.carry_out(now, actions, out);
    }

    /// Turns the actions of the coordinator into actions of the job, or into reactions of the state.
    fn carry_out(&mut self, now: MonotonicTime, actions: Vec<CheckpointAction<S>>, out: &mut Vec<Action<S>>) {
        for action in actions {
            match self.world.carry_out(action, out) {
                None => {}
                Some(Verdict::Completed { checkpoint, kind }) => {
                    self.state.as_job_state_mut::<S>().on_checkpoint_completed(checkpoint, kind);
                }
                Some(Verdict::Failed { message }) => {
                    self.react(now, out, |state, turn| state.on_checkpoints_failed(turn, message));
                }
                Some(Verdict::Deposed) => self.step_down(out),
            }
        }
    }

    fn step_down(&mut self, out: &mut Vec<Action<S>>) {
        self.state = State::Over(Over::step_down(out));
    }
}
