use std::collections::BTreeSet;

use flott_core::CheckpointId;

/// The completed checkpoints that are kept.
#[derive(Debug)]
pub struct CompletedCheckpoints {
    retained: usize,
    usable: BTreeSet<CheckpointId>,
    /// Newer than what could be restored: corrupt. Deleted with the next completion, not before: a person may look.
    unusable: BTreeSet<CheckpointId>,
}

impl CompletedCheckpoints {
    /// Keeps the newest `retained` (at least one) of `usable` and later ones.
    #[must_use]
    pub fn new(retained: usize, usable: impl IntoIterator<Item = CheckpointId>) -> Self {
        let retained = retained.max(1);
        Self { retained, usable: usable.into_iter().collect(), unusable: BTreeSet::new() }
    }

    /// The newest one, from which the job would be restored.
    #[must_use]
    pub fn latest(&self) -> Option<CheckpointId> {
        self.usable.last().copied()
    }

    /// All that the job can be restored from, the newest first.
    #[must_use]
    pub fn candidates(&self) -> Vec<CheckpointId> {
        self.usable.iter().rev().copied().collect()
    }

    /// Whether the files of this one are kept.
    #[must_use]
    pub fn is_kept(&self, checkpoint: CheckpointId) -> bool {
        self.usable.contains(&checkpoint) || self.unusable.contains(&checkpoint)
    }

    /// Adds a checkpoint. Returns the ones to delete, in ascending order.
    pub fn on_completed(&mut self, checkpoint: CheckpointId) -> Vec<CheckpointId> {
        self.usable.insert(checkpoint);
        let surplus = self.usable.len().saturating_sub(self.retained);
        let mut discarded = std::mem::take(&mut self.unusable);
        discarded.extend((0..surplus).filter_map(|_| self.usable.pop_first()));
        discarded.into_iter().collect()
    }

    /// The job was restored from this checkpoint: the newer ones could not be read.
    pub fn on_restored(&mut self, checkpoint: Option<CheckpointId>) {
        let newer = match checkpoint {
            Some(checkpoint) => self.usable.split_off(&checkpoint.next()),
            None => std::mem::take(&mut self.usable),
        };
        self.unusable.extend(newer);
        self.usable.extend(checkpoint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u64]) -> Vec<CheckpointId> {
        numbers.iter().copied().map(CheckpointId).collect()
    }

    #[test]
    fn the_oldest_go_first() {
        let mut completed = CompletedCheckpoints::new(2, ids(&[3]));
        assert_eq!(completed.on_completed(CheckpointId(4)), []);
        assert_eq!(completed.on_completed(CheckpointId(6)), ids(&[3]));
        assert_eq!(completed.latest(), Some(CheckpointId(6)));
    }

    #[test]
    fn one_is_always_kept() {
        let mut completed = CompletedCheckpoints::new(0, ids(&[1, 2]));
        assert_eq!(completed.on_completed(CheckpointId(3)), ids(&[1, 2]));
        assert_eq!(completed.latest(), Some(CheckpointId(3)));
    }

    #[test]
    fn a_corrupt_newest_one_stays_until_the_next_completes() {
        let mut completed = CompletedCheckpoints::new(2, ids(&[4, 5]));
        completed.on_restored(Some(CheckpointId(4)));
        assert_eq!(completed.latest(), Some(CheckpointId(4)));
        assert_eq!(completed.candidates(), ids(&[4]));
        assert_eq!(completed.on_completed(CheckpointId(6)), ids(&[5]));
        assert_eq!(completed.candidates(), ids(&[6, 4]));
        assert_eq!(completed.on_completed(CheckpointId(7)), ids(&[4]));
    }
}
