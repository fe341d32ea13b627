//! A source with two subtasks and a committing sink with one; two TaskManagers with one slot each.

use std::{collections::BTreeSet, time::Duration};

use flott_core::{
    AttemptId, CheckpointId, ErrorKind, Generation, SubtaskIndex, TaskManagerId, VertexId,
    source::Split,
    task::{Failure, TaskFact, TaskId},
};

use crate::{
    checkpoint::CheckpointKind,
    job::{
        Action, Fact, History, JobMaster, JobOutline, JobSettings, JobStatus, RestoredCheckpoint,
        VertexOutline,
    },
    slots::{SlotAssignment, SlotIndex},
    splits::{EnumeratorSnapshot, RestoredSource},
    testing::{at, task},
};

pub(super) type Actions = Vec<Action<&'static str>>;

pub(super) const ONE: AttemptId = AttemptId(1);
pub(super) const TWO: AttemptId = AttemptId(2);
pub(super) const A: TaskManagerId = TaskManagerId(1);
pub(super) const B: TaskManagerId = TaskManagerId(2);
pub(super) const C: TaskManagerId = TaskManagerId(3);
pub(super) const SOURCE: VertexId = VertexId(0);

pub(super) fn outline() -> JobOutline {
    let source = VertexOutline { parallelism: 2, is_source: true, is_committer: false };
    let sink = VertexOutline { parallelism: 1, is_source: false, is_committer: true };
    JobOutline { vertices: vec![source, sink] }
}

/// A JobMaster and the time.
pub(super) struct Job {
    pub(super) master: JobMaster<&'static str>,
    pub(super) now: u64,
    /// Checkpoints that cannot be read. The others are read as soon as that is asked for.
    pub(super) unreadable: BTreeSet<u64>,
    /// Checkpoints that were asked for, and whether their files were to be read through.
    pub(super) reads: Vec<(u64, bool)>,
}

impl Job {
    pub(super) fn with(settings: JobSettings, history: History) -> Self {
        let master = JobMaster::new(settings, outline(), history, 7);
        Self { master, now: 0, unreadable: BTreeSet::new(), reads: Vec::new() }
    }

    pub(super) fn new() -> Self {
        Self::with(JobSettings::default(), History::default())
    }

    /// Started, nothing settled, two TaskManagers.
    pub(super) fn started(mut self) -> Self {
        self.start();
        self.registered(A);
        self.registered(B);
        self
    }

    /// The first attempt is deployed.
    pub(super) fn deployed() -> Self {
        let mut job = Self::new().started();
        job.raised(1);
        job.settled(None);
        job
    }

    /// Every task of the first attempt runs.
    pub(super) fn running() -> Self {
        let mut job = Self::deployed();
        job.all_running(ONE);
        job
    }

    /// Running, with checkpoint 1 completed.
    pub(super) fn with_checkpoint() -> Self {
        let mut job = Self::running();
        job.at(1000);
        job.acked(ONE, 1);
        job.fact(stored(1));
        job
    }

    pub(super) fn start(&mut self) -> Actions {
        let mut out = Actions::new();
        self.master.start(at(self.now), &mut out);
        self.read(out)
    }

    pub(super) fn fact(&mut self, fact: Fact<&'static str>) -> Actions {
        let mut out = Actions::new();
        self.master.on_fact(at(self.now), fact, &mut out);
        self.read(out)
    }

    /// The actions that follow when checkpoints that are asked for are read at once.
    fn read(&mut self, actions: Actions) -> Actions {
        let mut others = Actions::new();
        for action in actions {
            let Action::ReadCheckpoint { checkpoint, is_thorough } = action else {
                others.push(action);
                continue;
            };
            self.reads.push((checkpoint.0, is_thorough));
            others.extend(self.fact(if self.unreadable.contains(&checkpoint.0) {
                Fact::CheckpointUnreadable { checkpoint, reason: "its checksum is wrong".into() }
            } else {
                Fact::CheckpointRead { checkpoint }
            }));
        }
        others
    }

    /// Time passes; everybody sends heartbeats.
    pub(super) fn at(&mut self, now: u64) -> Actions {
        self.now = now;
        let everybody = (1..=4).map(TaskManagerId);
        let mut out: Actions =
            everybody.flat_map(|task_manager| self.fact(Fact::Heartbeat { task_manager })).collect();
        out.extend(self.deadline(now));
        out
    }

    /// Time passes.
    pub(super) fn deadline(&mut self, now: u64) -> Actions {
        self.now = now;
        let mut out = Actions::new();
        self.master.on_deadline(at(now), &mut out);
        assert!(self.master.next_deadline().is_none_or(|deadline| deadline > at(now)));
        self.read(out)
    }

    pub(super) fn registered(&mut self, task_manager: TaskManagerId) -> Actions {
        self.fact(Fact::TaskManagerRegistered { task_manager, slots: 1 })
    }

    pub(super) fn lost(&mut self, task_manager: TaskManagerId) -> Actions {
        self.fact(Fact::TaskManagerLost { task_manager, reason: "reset".into() })
    }

    pub(super) fn raised(&mut self, generation: u64) -> Actions {
        self.fact(Fact::GenerationRaised { generation: Generation(generation) })
    }

    pub(super) fn settled(&mut self, checkpoint: Option<u64>) -> Actions {
        self.fact(settled(checkpoint.map(|number| restored(number, false))))
    }

    pub(super) fn all_running(&mut self, attempt: AttemptId) -> Actions {
        self.of_all(|task| reported(attempt, task, TaskFact::Running))
    }

    pub(super) fn all_ended(&mut self, attempt: AttemptId) -> Actions {
        self.of_all(|task| reported(attempt, task, TaskFact::Ended))
    }

    pub(super) fn acked(&mut self, attempt: AttemptId, number: u64) -> Actions {
        let checkpoint = CheckpointId(number);
        self.of_all(|task| reported(attempt, task, TaskFact::Snapshot { checkpoint, snapshot: "s" }))
    }

    pub(super) fn gone(&mut self, attempt: AttemptId, task_manager: TaskManagerId) -> Actions {
        self.fact(Fact::AttemptGone { attempt, task_manager })
    }

    pub(super) fn failed(&mut self, attempt: AttemptId, kind: ErrorKind) -> Actions {
        let failure = Failure::new(kind, "boom");
        self.fact(reported(attempt, task(0, 0), TaskFact::Failed { failure }))
    }

    pub(super) fn committed(&mut self, attempt: AttemptId, number: u64) -> Actions {
        self.fact(reported(attempt, task(1, 0), TaskFact::Committed { checkpoint: CheckpointId(number) }))
    }

    fn of_all(&mut self, fact: impl Fn(TaskId) -> Fact<&'static str>) -> Actions {
        outline().tasks().into_iter().flat_map(|task| self.fact(fact(task))).collect()
    }
}

pub(super) fn reported(attempt: AttemptId, task: TaskId, fact: TaskFact<&'static str>) -> Fact<&'static str> {
    Fact::Task { attempt, task, fact }
}

pub(super) fn restored(number: u64, is_final: bool) -> RestoredCheckpoint {
    RestoredCheckpoint { checkpoint: CheckpointId(number), is_final, sources: Default::default() }
}

pub(super) fn stored(number: u64) -> Fact<&'static str> {
    Fact::CheckpointStored { checkpoint: CheckpointId(number) }
}

/// There is nothing to be swept afterwards.
pub(super) fn settled(restored: Option<RestoredCheckpoint>) -> Fact<&'static str> {
    Fact::Settled { restored, sweep_for: Duration::ZERO, transaction_timeout: None }
}

pub(super) fn sweep(below: u64) -> Action<&'static str> {
    Action::Sweep { below: Generation(below) }
}

pub(super) fn finish(status: JobStatus) -> Action<&'static str> {
    Action::FinishJob { status, failure: None }
}

pub(super) fn raise(above: u64) -> Action<&'static str> {
    Action::RaiseGeneration { above: Generation(above), unswept: unswept(above, above + 1) }
}

pub(super) fn settle(checkpoint: Option<u64>, generation: u64) -> Action<&'static str> {
    Action::Settle {
        checkpoint: checkpoint.map(CheckpointId),
        is_fallback: false,
        generation: Generation(generation),
        unswept: unswept(generation, generation),
        is_repeat: false,
    }
}

/// A newer checkpoint than this one cannot be read.
pub(super) fn settle_older(number: u64, generation: u64) -> Action<&'static str> {
    Action::Settle {
        checkpoint: Some(CheckpointId(number)),
        is_fallback: true,
        generation: Generation(generation),
        unswept: unswept(generation, generation),
        is_repeat: false,
    }
}

/// Generations that are unswept when the one before `settled` was settled.
fn unswept(settled: u64, newest: u64) -> Vec<(Generation, u32)> {
    (settled.saturating_sub(1).max(1)..=newest).map(|generation| (Generation(generation), 2)).collect()
}

pub(super) fn deploy(
    attempt: AttemptId,
    generation: u64,
    restore: Option<u64>,
    places: &[TaskManagerId],
) -> Action<&'static str> {
    let assignment = (0..).map(SubtaskIndex).zip(places).map(|(subtask, &task_manager)| SlotAssignment {
        subtask,
        task_manager,
        slot: SlotIndex(0),
    });
    let (generation, restore) = (Generation(generation), restore.map(CheckpointId));
    Action::Deploy { attempt, generation, restore, assignment: assignment.collect() }
}

pub(super) fn cancel(attempt: AttemptId, task_managers: &[TaskManagerId]) -> Action<&'static str> {
    Action::CancelTasks { attempt, task_managers: task_managers.to_vec() }
}

pub(super) fn restart(kind: ErrorKind, message: &str, restart_at: u64) -> Action<&'static str> {
    Action::ReportRestart { failure: Failure::new(kind, message), restart_at: at(restart_at) }
}

pub(super) fn trigger(attempt: AttemptId, number: u64, kind: CheckpointKind) -> Action<&'static str> {
    Action::TriggerCheckpoint { attempt, checkpoint: CheckpointId(number), kind }
}

pub(super) fn notify(attempt: AttemptId, number: u64) -> Action<&'static str> {
    Action::CompleteCheckpoint { attempt: Some(attempt), checkpoint: CheckpointId(number) }
}

/// The attempt that took the checkpoint is over.
pub(super) fn complete(number: u64) -> Action<&'static str> {
    Action::CompleteCheckpoint { attempt: None, checkpoint: CheckpointId(number) }
}

pub(super) fn abort(attempt: AttemptId, number: u64) -> Action<&'static str> {
    let (checkpoint, reason) = (CheckpointId(number), "the attempt is over".into());
    Action::AbortCheckpoint { attempt, checkpoint, reason }
}

pub(super) fn discover() -> Action<&'static str> {
    Action::DiscoverSplits { vertex: SOURCE }
}

pub(super) fn split(id: &str) -> Split {
    Split { id: id.into(), state: Vec::new() }
}

pub(super) fn source(known: &[&str], splits: &[&str]) -> RestoredSource {
    let known = known.iter().map(|&id| id.to_owned()).collect();
    let splits = splits.iter().map(|id| split(id)).collect();
    RestoredSource { enumerator: EnumeratorSnapshot { known, is_complete: false }, splits }
}
