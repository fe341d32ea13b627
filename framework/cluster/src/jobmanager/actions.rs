//! Carries out what the JobMaster asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use flott_control::{
    checkpoint::{CheckpointKind, Part},
    job::{Action, JobStatus, ShutdownStep},
    slots::SlotAssignment,
    splits::EnumeratorSnapshot,
};
use flott_core::{
    AttemptId, CheckpointId, Generation, MonotonicTime, TaskManagerId, VertexId,
    task::{TaskAction, TaskId},
};
use flott_state::storage::{CheckpointDirectory, Manifest, WrittenSnapshot};

use super::{
    checkpoints,
    discovery::Search,
    driver::{Driver, Ending},
    event::Event,
    reading::Reading,
    settling::Settling,
    sweeping::Sweeping,
    waits::Wait,
};
use crate::{
    rpc::message::{Deploy, ToTaskManager},
    store::StoreError,
};

impl Driver {
    pub(super) fn carry_out(&mut self, actions: Vec<Action<WrittenSnapshot>>) {
        let is_restart = actions.iter().any(|action| matches!(action, Action::ReportRestart { .. }));
        for action in actions {
            match action {
                Action::Disconnect { task_manager, reason } => {
                    self.disconnect(task_manager);
                    // A restart that follows says it.
                    if !is_restart {
                        self.report.warn(format!("TaskManager {task_manager} was lost: {reason}"));
                    }
                }
                action => self.carry_out_one(action),
            }
        }
    }

    fn carry_out_one(&mut self, action: Action<WrittenSnapshot>) {
        match action {
            Action::RaiseGeneration { above, unswept } => self.raise_generation(above.next(), unswept),
            Action::ReadCheckpoint { checkpoint, is_thorough } => self.read(checkpoint, is_thorough),
            Action::Settle { checkpoint, is_fallback, generation: _, unswept, is_repeat } => {
                let manifest = self.manifest_of(checkpoint);
                assert_eq!(manifest.is_some(), checkpoint.is_some(), "what is settled was read before");
                let settling = Settling {
                    program: Arc::clone(&self.program),
                    job: self.job.clone(),
                    store: self.store.clone(),
                    settings: Arc::clone(&self.settings),
                    manifest,
                    is_fallback,
                    unswept,
                    is_repeat,
                    waits: self.waits.clone(),
                };
                self.settle(settling);
            }
            Action::Sweep { below } => self.sweep(below),
            Action::Deploy { attempt, generation, restore, assignment } => {
                self.deploy(attempt, generation, restore, &assignment);
            }
            Action::CancelTasks { attempt, task_managers } => {
                task_managers.into_iter().for_each(|id| self.send(id, ToTaskManager::Cancel { attempt }));
            }
            Action::Disconnect { task_manager, .. } => self.disconnect(task_manager),
            Action::DiscoverSplits { vertex } => self.discover(vertex),
            Action::TellTask { attempt, task, action } => self.tell_task(attempt, task, action),
            Action::TriggerCheckpoint { attempt, checkpoint, kind } => {
                self.report.on_triggered(checkpoint, self.now());
                let trigger = |attempt| ToTaskManager::TriggerCheckpoint { attempt, checkpoint, kind };
                self.tell_all(attempt, trigger);
            }
            Action::StoreCheckpoint { attempt, checkpoint, kind, sources, parts, append_before } => {
                let counted = checkpoints::counters(&parts);
                let manifest = self.manifest(attempt, checkpoint, kind, sources, parts);
                self.report.on_storing(checkpoint, manifest.snapshot_bytes(), counted);
                self.store_checkpoint(manifest, append_before);
            }
            Action::WithdrawCheckpoint { checkpoint, is_repeat } => self.withdraw(checkpoint, is_repeat),
            Action::CompleteCheckpoint { attempt, checkpoint } => {
                self.report.on_completed(checkpoint, self.now());
                if let Some(attempt) = attempt {
                    let complete = |attempt| ToTaskManager::CheckpointComplete { attempt, checkpoint };
                    self.tell_all(attempt, complete);
                }
            }
            Action::AbortCheckpoint { attempt, checkpoint, reason } => {
                self.report.on_aborted(checkpoint, &reason);
                self.tell_all(attempt, |attempt| ToTaskManager::AbortCheckpoint { attempt, checkpoint });
                self.discard_files(CheckpointDirectory::new(checkpoint, self.epoch, attempt));
            }
            Action::DiscardCheckpoints { checkpoints } => {
                self.report.on_discarded(&checkpoints);
                self.discard(checkpoints);
            }
            Action::RefuseAck { attempt, checkpoint, task, refusal } => {
                tracing::debug!(attempt = attempt.0, checkpoint = checkpoint.0, %task, %refusal, "refused a snapshot");
                if refusal.is_checkpoint_dead() {
                    self.discard_files(CheckpointDirectory::new(checkpoint, self.epoch, attempt));
                }
            }
            Action::ReportRestart { failure, restart_at } => {
                let delay_ms = restart_at.since(self.now()).as_millis();
                let from = self.master.latest_checkpoint();
                let from = from.map_or("from the beginning".into(), |id| format!("from checkpoint {id}"));
                let when = if delay_ms == 0 { String::new() } else { format!(" in {delay_ms} ms") };
                self.report.on_restart(format!("{failure}; restarting {from}{when}"));
            }
            Action::ReportShutdown { step } => self.report.note(match step {
                ShutdownStep::Stop => "asked to end: taking a last checkpoint; ask again to end at once",
                ShutdownStep::Cancel => {
                    "asked to end twice: the job's tasks are cancelled, its last checkpoint is kept"
                }
                ShutdownStep::Abandon => "asked to end three times: this process waits for nothing any more",
            }),
            Action::StepDown => {
                self.ending = Some(Ending { status: JobStatus::Suspended, failure: None, is_deposed: true });
            }
            Action::FinishJob { status, failure } => {
                self.ending = Some(Ending { status, failure, is_deposed: false });
            }
        }
    }

    fn raise_generation(&mut self, generation: Generation, unswept: Vec<(Generation, u32)>) {
        let (store, events) = (self.store.clone(), self.events.clone());
        let wait = self.begin_wait(format_args!("raising the generation"));
        self.background.spawn(async move {
            let _wait = wait;
            let result = store.raise_generation(generation, unswept).await;
            let _ = events.send(Event::GenerationRaised { generation, result }).await;
        });
    }

    fn read(&mut self, checkpoint: CheckpointId, is_thorough: bool) {
        let (store, waits) = (self.store.clone(), self.waits.clone());
        let reading = Reading { store, checkpoint, is_thorough, waits };
        let events = self.events.clone();
        self.background.spawn(async move {
            let _ = events.send(reading.run().await).await;
        });
    }

    /// This checkpoint, if it was read.
    fn manifest_of(&self, checkpoint: Option<CheckpointId>) -> Option<Arc<Manifest>> {
        self.manifest.clone().filter(|manifest| Some(manifest.checkpoint) == checkpoint)
    }

    fn settle(&mut self, settling: Settling) {
        let events = self.events.clone();
        self.background.spawn(async move {
            let _ = events.send(settling.run().await).await;
        });
    }

    fn sweep(&mut self, below: Generation) {
        let waits = self.waits.clone();
        let sweeping = Sweeping { program: Arc::clone(&self.program), job: self.job.clone(), below, waits };
        let events = self.events.clone();
        self.background.spawn(async move {
            let swept = sweeping.run().await;
            let _ = events.send(Event::Swept(swept)).await;
        });
    }

    fn deploy(
        &mut self,
        attempt: AttemptId,
        generation: Generation,
        restore: Option<CheckpointId>,
        assignment: &[SlotAssignment],
    ) {
        self.report.on_deployed(attempt, restore);
        self.attempt = Some(attempt);
        self.locations = assignment.iter().map(|place| (place.subtask, place.task_manager)).collect();
        let ids: BTreeSet<_> = assignment.iter().map(|place| place.task_manager).collect();
        let address = |id| self.peers.get(id).map_or_else(String::new, |peer| peer.exchange_address.clone());
        let peers: Vec<String> = ids.iter().map(address).collect();
        let index_of: BTreeMap<TaskManagerId, u32> = ids.iter().copied().zip(0..).collect();
        let locations: Vec<u32> = self.locations.values().map(|id| index_of[id]).collect();
        let manifest = self.manifest_without_lists(restore);
        let from = restore.map_or("from the beginning".into(), |id| format!("from checkpoint {id}"));
        let count = locations.len();
        self.report
            .note(format!("deploying attempt {attempt} {from} to {count} slots, generation {generation}"));
        for (id, me) in index_of {
            let deploy = Deploy {
                job: self.job.clone(),
                attempt,
                generation,
                restore: manifest.clone(),
                peers: peers.clone(),
                me,
                locations: locations.clone(),
            };
            self.send(id, ToTaskManager::Deploy(Box::new(deploy)));
        }
    }

    /// What TaskManagers have to know of a checkpoint: where its files are.
    fn manifest_without_lists(&self, restore: Option<CheckpointId>) -> Option<Manifest> {
        let mut manifest = Manifest::clone(&*self.manifest_of(restore)?);
        manifest.operators.iter_mut().for_each(|operator| operator.lists.clear());
        manifest.enumerators.clear();
        Some(manifest)
    }

    fn discover(&mut self, vertex: VertexId) {
        let Some(operator) = self.plan.source_of(self.plan.vertex(vertex)) else { return };
        let uid = self.plan.graph.operator(operator).uid.clone();
        let search = Search { vertex, operator, uid, known: BTreeSet::new() };
        let (program, store, events) = (Arc::clone(&self.program), self.store.clone(), self.events.clone());
        self.background.spawn(search.run(program, store, events));
    }

    fn tell_task(&mut self, attempt: AttemptId, task: TaskId, action: TaskAction) {
        if let TaskAction::AddSplits(splits) = &action {
            tracing::debug!(%task, splits = splits.len(), "assigning splits");
        }
        if let Some(&id) = self.locations.get(&task.subtask).filter(|_| self.attempt == Some(attempt)) {
            self.send(id, ToTaskManager::ToTask { attempt, task, action });
        }
    }

    fn tell_all(&mut self, attempt: AttemptId, message: impl Fn(AttemptId) -> ToTaskManager) {
        if self.attempt == Some(attempt) {
            let ids: BTreeSet<_> = self.locations.values().copied().collect();
            ids.into_iter().for_each(|id| self.send(id, message(attempt)));
        }
    }

    fn manifest(
        &self,
        attempt: AttemptId,
        checkpoint: CheckpointId,
        kind: CheckpointKind,
        sources: BTreeMap<VertexId, EnumeratorSnapshot>,
        parts: Vec<Part<WrittenSnapshot>>,
    ) -> Manifest {
        let mut manifest = Manifest::new(checkpoint, self.epoch, attempt, self.plan.graph.max_parallelism);
        manifest.is_final = kind.is_final();
        manifest.completed_at_ms = self.clock.processing_time().0;
        checkpoints::manifest(&self.plan, manifest, sources, parts)
    }

    /// Names a wait for the checkpoint directory.
    pub(super) fn begin_wait(&self, doing: std::fmt::Arguments<'_>) -> Wait {
        self.waits.begin(format!("the checkpoint directory {} ({doing})", self.store.place()))
    }

    fn store_checkpoint(&mut self, manifest: Manifest, append_before: MonotonicTime) {
        let checkpoint = manifest.checkpoint;
        let (store, events, clock) = (self.store.clone(), self.events.clone(), Arc::clone(&self.clock));
        let wait = self.begin_wait(format_args!("storing checkpoint {checkpoint}"));
        self.background.spawn(async move {
            let result = store.store(manifest, append_before, &*clock).await;
            drop(wait);
            let _ = events.send(Event::CheckpointStored { checkpoint, result }).await;
        });
    }

    /// Until this is done or another JobManager leads, a restart would go on from that checkpoint.
    fn withdraw(&mut self, checkpoint: CheckpointId, is_repeat: bool) {
        let (store, events) = (self.store.clone(), self.events.clone());
        if !self.withdrawals.contains_key(&checkpoint) {
            let wait = self.begin_wait(format_args!("withdrawing checkpoint {checkpoint}"));
            self.withdrawals.insert(checkpoint, wait);
        }
        self.background.spawn(async move {
            let result = store.withdraw(checkpoint, is_repeat).await;
            let _ = events.send(Event::CheckpointWithdrawn { checkpoint, result }).await;
        });
    }

    fn discard(&mut self, checkpoints: Vec<CheckpointId>) {
        let (store, events) = (self.store.clone(), self.events.clone());
        self.background.spawn(async move {
            match store.discard(checkpoints).await {
                Ok(()) => {}
                Err(StoreError::Failed(error)) => tracing::warn!(%error, "cannot delete an old checkpoint"),
                Err(StoreError::Conflict) => drop(events.send(Event::Deposed).await),
            }
        });
    }

    fn discard_files(&mut self, directory: CheckpointDirectory) {
        let store = self.store.clone();
        self.background.spawn(async move {
            if let Err(error) = store.discard_files(directory.as_str()).await {
                tracing::warn!(%error, "cannot delete the files of a failed checkpoint");
            }
        });
    }
}
