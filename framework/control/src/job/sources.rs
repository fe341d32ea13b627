//! Facts about splits go to the enumerator of their source; what it asks for becomes actions.

use std::collections::BTreeMap;

use flott_core::{
    AttemptId, CheckpointId, SubtaskIndex, VertexId,
    source::Split,
    task::{TaskAction, TaskId},
};

use super::{Action, JobOutline};
use crate::splits::{EnumeratorSnapshot, RestoredSource, SplitAssignment};

/// The enumerators of all sources.
#[derive(Debug)]
pub(super) struct Sources {
    sources: BTreeMap<VertexId, Source>,
    /// The enumerators' parts of the checkpoints under way.
    snapshots: BTreeMap<CheckpointId, BTreeMap<VertexId, EnumeratorSnapshot>>,
    /// The attempt whose readers get splits.
    attempt: Option<AttemptId>,
}

#[derive(Debug)]
struct Source {
    parallelism: u32,
    splits: SplitAssignment,
    /// The driver looks for splits.
    is_discovering: bool,
}

impl Sources {
    pub(super) fn new(outline: &JobOutline) -> Self {
        let source =
            |parallelism| Source { parallelism, splits: SplitAssignment::new(), is_discovering: false };
        let sources = outline.sources().map(|(vertex, parallelism)| (vertex, source(parallelism))).collect();
        Self { sources, snapshots: BTreeMap::new(), attempt: None }
    }

    /// All sources go back to the restored checkpoint; discovery goes on, or begins where it is not under way.
    pub(super) fn restore<S>(
        &mut self,
        mut restored: BTreeMap<VertexId, RestoredSource>,
        out: &mut Vec<Action<S>>,
    ) {
        for (&vertex, source) in &mut self.sources {
            source.splits.on_restored(restored.remove(&vertex));
            if !source.splits.is_complete() && !source.is_discovering {
                source.is_discovering = true;
                out.push(Action::DiscoverSplits { vertex });
            }
        }
    }

    /// The attempt was sent to its slots: its readers get everything that waits.
    pub(super) fn on_attempt<S>(&mut self, attempt: AttemptId, out: &mut Vec<Action<S>>) {
        self.attempt = Some(attempt);
        for vertex in self.sources.keys().copied().collect::<Vec<_>>() {
            self.tell(vertex, out, |source, actions| source.splits.on_attempt(source.parallelism, actions));
        }
    }

    /// The attempt is over: what is discovered from now on waits for the next one.
    pub(super) fn on_attempt_over(&mut self) {
        self.attempt = None;
        self.sources.values_mut().for_each(|source| source.splits.on_attempt_over());
    }

    pub(super) fn on_discovered<S>(
        &mut self,
        vertex: VertexId,
        splits: Vec<Split>,
        out: &mut Vec<Action<S>>,
    ) {
        self.tell(vertex, out, |source, actions| source.splits.on_discovered(splits, actions));
    }

    pub(super) fn on_discovery_ended<S>(&mut self, vertex: VertexId, out: &mut Vec<Action<S>>) {
        self.tell(vertex, out, |source, actions| {
            source.is_discovering = false;
            source.splits.on_discovery_ended(actions);
        });
    }

    /// Returns `true` if the driver was looking for splits of this source.
    pub(super) fn on_discovery_failed(&mut self, vertex: VertexId) -> bool {
        let source = self.sources.get_mut(&vertex);
        source.is_some_and(|source| std::mem::replace(&mut source.is_discovering, false))
    }

    /// Keeps what the enumerators know now, for this checkpoint.
    pub(super) fn on_triggered(&mut self, checkpoint: CheckpointId) {
        let snapshots = self.sources.iter().map(|(&vertex, source)| (vertex, source.splits.snapshot()));
        self.snapshots.insert(checkpoint, snapshots.collect());
    }

    /// Takes the snapshots of the enumerators from the time when the checkpoint was triggered.
    pub(super) fn take_snapshots(
        &mut self,
        checkpoint: CheckpointId,
    ) -> BTreeMap<VertexId, EnumeratorSnapshot> {
        self.snapshots.remove(&checkpoint).unwrap_or_default()
    }

    fn tell<S>(
        &mut self,
        vertex: VertexId,
        out: &mut Vec<Action<S>>,
        run: impl FnOnce(&mut Source, &mut Vec<(SubtaskIndex, TaskAction)>),
    ) {
        let mut actions = Vec::new();
        if let Some(source) = self.sources.get_mut(&vertex) {
            run(source, &mut actions);
        }
        let Some(attempt) = self.attempt else {
            return;
        };
        out.extend(actions.into_iter().map(|(subtask, action)| {
            let task = TaskId::new(vertex, subtask);
            Action::TellTask { attempt, task, action }
        }));
    }
}
