//! Facts about splits go to the enumerator of their source; what it asks for becomes actions.

use std::collections::BTreeMap;

use flott_core::{
    MonotonicTime, SubtaskIndex, VertexId,
    source::Split,
    task::{Failure, TaskAction, TaskId},
};

use super::{Action, JobMaster, master::State};
use crate::splits::{RestoredSource, SplitAssignment};

impl<S> JobMaster<S> {
    /// All sources go back to the restored checkpoint; discovery goes on, or begins where it is not under way.
    pub(super) fn restore_sources(
        &mut self,
        mut restored: BTreeMap<VertexId, RestoredSource>,
        out: &mut Vec<Action<S>>,
    ) {
        for (&vertex, source) in &mut self.sources {
            source.on_restored(restored.remove(&vertex));
            if !source.is_complete() && self.discovering.insert(vertex) {
                out.push(Action::DiscoverSplits { vertex });
            }
        }
    }

    /// The attempt was sent to its slots: its readers get everything that waits.
    pub(super) fn assign_splits(&mut self, out: &mut Vec<Action<S>>) {
        for (vertex, parallelism) in self.outline.sources().collect::<Vec<_>>() {
            self.with_source(vertex, out, |source, actions| source.on_attempt(parallelism, actions));
        }
    }

    pub(super) fn on_splits_discovered(
        &mut self,
        vertex: VertexId,
        splits: Vec<Split>,
        out: &mut Vec<Action<S>>,
    ) {
        self.with_source(vertex, out, |source, actions| source.on_discovered(splits, actions));
    }

    pub(super) fn on_discovery_ended(&mut self, vertex: VertexId, out: &mut Vec<Action<S>>) {
        self.discovering.remove(&vertex);
        self.with_source(vertex, out, SplitAssignment::on_discovery_ended);
    }

    /// Without discovery a source may wait for ever, so its failure is a failure of the job.
    pub(super) fn on_discovery_failed(
        &mut self,
        now: MonotonicTime,
        vertex: VertexId,
        mut failure: Failure,
        out: &mut Vec<Action<S>>,
    ) {
        if !self.discovering.remove(&vertex) {
            return;
        }
        failure.message = format!("split discovery of vertex {vertex}: {}", failure.message);
        match &self.state {
            State::Executing(_) => self.fail_attempt(now, failure, out),
            State::Recovering(_) => self.discover_again(now, failure, out),
            State::Created | State::Closing(_) | State::Over(_) => {}
        }
    }

    /// Discovery failed before the job was deployed: settling is repeated after the delay, and starts it again.
    fn discover_again(&mut self, now: MonotonicTime, failure: Failure, out: &mut Vec<Action<S>>) {
        if let Some(at) = self.retry_recovery(now, failure, out)
            && let State::Recovering(recovery) = &mut self.state
            && !recovery.settlement.is_running()
        {
            recovery.settlement.retry_at(at);
        }
    }

    fn with_source(
        &mut self,
        vertex: VertexId,
        out: &mut Vec<Action<S>>,
        run: impl FnOnce(&mut SplitAssignment, &mut Vec<(SubtaskIndex, TaskAction)>),
    ) {
        let attempt = self.attempt();
        let mut actions = Vec::new();
        if let Some(source) = self.sources.get_mut(&vertex) {
            run(source, &mut actions);
        }
        let Some(attempt) = attempt else {
            return;
        };
        out.extend(actions.into_iter().map(|(subtask, action)| {
            let task = TaskId::new(vertex, subtask);
            Action::TellTask { attempt, task, action }
        }));
    }
}
