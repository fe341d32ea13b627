//! Facts about checkpoints and commits go to the coordinator; what it asks for becomes actions.

use flott_core::{
    AttemptId, CheckpointId, ErrorKind, MonotonicTime,
    task::{Failure, TaskId},
};

use super::{Action, JobMaster, executing::Phase, master::State};
use crate::checkpoint::{CheckpointAction, CheckpointKind, StoreFailure};

impl<S> JobMaster<S> {
    pub(super) fn on_ack(
        &mut self,
        now: MonotonicTime,
        attempt: AttemptId,
        checkpoint: CheckpointId,
        task: TaskId,
        snapshot: S,
        out: &mut Vec<Action<S>>,
    ) {
        let mut actions = Vec::new();
        let taken = self.checkpoints.on_ack(now, attempt, checkpoint, task, snapshot, &mut actions);
        out.extend(taken.err().map(|refusal| Action::RefuseAck { attempt, checkpoint, task, refusal }));
        self.carry_out(now, actions, out);
    }

    pub(super) fn on_decline(
        &mut self,
        now: MonotonicTime,
        attempt: AttemptId,
        checkpoint: CheckpointId,
        task: TaskId,
        reason: &str,
        out: &mut Vec<Action<S>>,
    ) {
        let mut actions = Vec::new();
        let taken = self.checkpoints.on_decline(now, attempt, checkpoint, task, reason, &mut actions);
        out.extend(taken.err().map(|refusal| Action::RefuseAck { attempt, checkpoint, task, refusal }));
        self.carry_out(now, actions, out);
    }

    pub(super) fn on_stored(
        &mut self,
        now: MonotonicTime,
        checkpoint: CheckpointId,
        out: &mut Vec<Action<S>>,
    ) {
        let mut actions = Vec::new();
        self.checkpoints.on_stored(now, checkpoint, &mut actions);
        self.carry_out(now, actions, out);
    }

    pub(super) fn on_withdrawn(
        &mut self,
        now: MonotonicTime,
        checkpoint: CheckpointId,
        out: &mut Vec<Action<S>>,
    ) {
        let mut actions = Vec::new();
        self.checkpoints.on_withdrawn(now, checkpoint, &mut actions);
        self.carry_out(now, actions, out);
    }

    pub(super) fn on_store_failed(
        &mut self,
        now: MonotonicTime,
        checkpoint: CheckpointId,
        cause: StoreFailure,
        out: &mut Vec<Action<S>>,
    ) {
        let mut actions = Vec::new();
        self.checkpoints.on_store_failed(now, checkpoint, cause, &mut actions);
        self.carry_out(now, actions, out);
    }

    /// A short bounded task may end before the last one of its attempt runs: that is kept until all run.
    pub(super) fn on_task_ended(
        &mut self,
        now: MonotonicTime,
        attempt: AttemptId,
        task: TaskId,
        out: &mut Vec<Action<S>>,
    ) {
        let Some(execution) = self.execution_of(attempt) else {
            return;
        };
        if let Phase::Deploying { ended, .. } = &mut execution.phase {
            ended.insert(task);
            return;
        }
        let mut actions = Vec::new();
        self.checkpoints.on_task_ended(now, task, &mut actions);
        self.carry_out(now, actions, out);
    }

    pub(super) fn on_committed(&mut self, attempt: AttemptId, checkpoint: CheckpointId, task: TaskId) {
        if self.attempt() == Some(attempt) {
            self.commits.on_committed(task, checkpoint);
        }
    }

    pub(super) fn carry_out(
        &mut self,
        now: MonotonicTime,
        actions: Vec<CheckpointAction<S>>,
        out: &mut Vec<Action<S>>,
    ) {
        for action in actions {
            self.carry_out_one(now, action, out);
        }
    }

    fn carry_out_one(&mut self, now: MonotonicTime, action: CheckpointAction<S>, out: &mut Vec<Action<S>>) {
        match action {
            CheckpointAction::Trigger { attempt, checkpoint, kind } => {
                let snapshots = self.sources.iter().map(|(&vertex, source)| (vertex, source.snapshot()));
                self.enumerators.insert(checkpoint, snapshots.collect());
                out.push(Action::TriggerCheckpoint { attempt, checkpoint, kind });
            }
            CheckpointAction::Store { attempt, checkpoint, kind, parts, append_before } => {
                let sources = self.enumerators.remove(&checkpoint).unwrap_or_default();
                out.push(Action::StoreCheckpoint {
                    attempt,
                    checkpoint,
                    kind,
                    sources,
                    parts,
                    append_before,
                });
            }
            CheckpointAction::Withdraw { checkpoint } => {
                out.push(Action::WithdrawCheckpoint { checkpoint });
            }
            CheckpointAction::Complete { attempt, checkpoint, kind } => {
                out.push(Action::CompleteCheckpoint { attempt, checkpoint });
                if attempt.is_some() {
                    self.on_last_completed(checkpoint, kind);
                }
            }
            CheckpointAction::Abort { attempt, checkpoint, reason } => {
                self.enumerators.remove(&checkpoint);
                out.push(Action::AbortCheckpoint { attempt, checkpoint, reason });
            }
            CheckpointAction::Discard { checkpoints } => out.push(Action::DiscardCheckpoints { checkpoints }),
            CheckpointAction::FailAttempt { message } => {
                self.fail_attempt(now, Failure::new(ErrorKind::Transient, message), out);
            }
            CheckpointAction::StepDown => self.step_down(out),
        }
    }

    fn on_last_completed(&mut self, checkpoint: CheckpointId, kind: CheckpointKind) {
        if let State::Executing(execution) = &mut self.state {
            match kind {
                CheckpointKind::Periodic => {}
                CheckpointKind::Stop => execution.phase = Phase::Stopping { checkpoint: Some(checkpoint) },
                CheckpointKind::Final => execution.phase = Phase::Finishing { checkpoint },
            }
        }
    }
}
