use std::collections::BTreeSet;

use flott_core::{SubtaskIndex, source::Split, task::TaskAction};

use super::{EnumeratorSnapshot, RestoredSource};

/// The enumerator of one source. It asks for actions of the tasks that read the source, by subtask.
///
/// Splits go in order to the reader that has the fewest, the first one of equals, so the same facts always give the
/// same, balanced assignment. All splits that this JobManager discovers are remembered as they were found, also those that
/// the checkpoint holds: the job may have to go back to an older one, from before their discovery.
#[derive(Debug, Default)]
pub struct SplitAssignment {
    discovered: Vec<Split>,
    discovered_ids: BTreeSet<String>,
    /// This JobManager has discovered all there are.
    has_discovered_all: bool,
    known: BTreeSet<String>,
    waiting: Vec<Split>,
    /// All there are is known.
    is_complete: bool,
    readers: Vec<u32>,
    /// The readers of this attempt have been told what is theirs.
    has_assigned: bool,
}

impl SplitAssignment {
    /// A source of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The job goes back to a checkpoint, or to its beginning: all splits wait to be assigned again.
    pub fn on_restored(&mut self, restored: Option<RestoredSource>) {
        let RestoredSource { enumerator, mut splits } = restored.unwrap_or_default();
        self.is_complete = enumerator.is_complete || self.has_discovered_all;
        self.known = enumerator.known;
        self.readers.clear();
        splits.sort_by(|a, b| a.id.cmp(&b.id));
        self.known.extend(splits.iter().map(|split| split.id.clone()));
        self.waiting = splits;
        for split in &self.discovered {
            if self.known.insert(split.id.clone()) {
                self.waiting.push(split.clone());
            }
        }
    }

    /// An attempt with so many readers starts.
    pub fn on_attempt(&mut self, parallelism: u32, out: &mut Vec<(SubtaskIndex, TaskAction)>) {
        self.readers = vec![0; parallelism as usize];
        self.has_assigned = false;
        self.assign_waiting(out);
        if self.is_complete {
            self.tell_no_more(out);
        }
    }

    /// The attempt is over: what is discovered from now on waits for the next one.
    pub fn on_attempt_over(&mut self) {
        self.readers.clear();
    }

    /// Splits were found. Known ones are not assigned again.
    pub fn on_discovered(&mut self, splits: Vec<Split>, out: &mut Vec<(SubtaskIndex, TaskAction)>) {
        for split in splits {
            if self.discovered_ids.insert(split.id.clone()) {
                self.discovered.push(split.clone());
            }
            if self.known.insert(split.id.clone()) {
                self.waiting.push(split);
            }
        }
        self.assign_waiting(out);
    }

    /// There will be no further split: the source is bounded.
    pub fn on_discovery_ended(&mut self, out: &mut Vec<(SubtaskIndex, TaskAction)>) {
        self.has_discovered_all = true;
        if !std::mem::replace(&mut self.is_complete, true) {
            self.tell_no_more(out);
        }
    }

    /// Whether discovery has ended.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The enumerator's part of a checkpoint that is triggered now. Assignments sent before the trigger must reach
    /// their readers before its barrier.
    #[must_use]
    pub fn snapshot(&self) -> EnumeratorSnapshot {
        EnumeratorSnapshot { known: self.known.clone(), is_complete: self.is_complete }
    }

    fn assign_waiting(&mut self, out: &mut Vec<(SubtaskIndex, TaskAction)>) {
        if self.readers.is_empty() || self.known.is_empty() {
            return;
        }
        // A reader that gets nothing is told so once: it must not hold back the watermark of those that do.
        let is_first = !std::mem::replace(&mut self.has_assigned, true);
        let mut shares: Vec<Vec<Split>> = vec![Vec::new(); self.readers.len()];
        for split in self.waiting.drain(..) {
            let loads = self.readers.iter_mut().zip(&mut shares);
            if let Some((load, share)) = loads.min_by_key(|(load, _)| **load) {
                *load += 1;
                share.push(split);
            }
        }
        for (subtask, splits) in (0..).map(SubtaskIndex).zip(shares) {
            if is_first || !splits.is_empty() {
                out.push((subtask, TaskAction::AddSplits(splits)));
            }
        }
    }

    fn tell_no_more(&self, out: &mut Vec<(SubtaskIndex, TaskAction)>) {
        let subtasks = (0..).map(SubtaskIndex).zip(&self.readers);
        out.extend(subtasks.map(|(subtask, _)| (subtask, TaskAction::NoMoreSplits)));
    }
}
