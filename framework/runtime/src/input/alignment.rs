//! Aligned barriers: a channel that has delivered its barrier waits for the others.

use flott_core::CheckpointId;

/// What a barrier leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// Wait for the other channels.
    Pending,
    /// All channels have delivered it: snapshot now. All channels are open again.
    Aligned,
    /// It belongs to a checkpoint that was given up; nothing to do.
    Obsolete,
}

/// Decides which channels may be read while barriers arrive. Pure.
#[derive(Debug)]
pub struct BarrierAligner {
    is_blocked: Vec<bool>,
    arrived: usize,
    current: Option<CheckpointId>,
    newest: Option<CheckpointId>,
}

impl BarrierAligner {
    /// For a task with this many input channels.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        Self { is_blocked: vec![false; channels], arrived: 0, current: None, newest: None }
    }

    /// Whether a channel must not be read for now.
    #[must_use]
    #[inline]
    pub fn is_blocked(&self, channel: usize) -> bool {
        self.is_blocked[channel]
    }

    /// A channel has delivered the barrier of `checkpoint`. A newer barrier gives up an alignment under way: the JobManager
    /// starts a new checkpoint only when the one before is complete or given up.
    ///
    /// # Panics
    /// When the channel is blocked, so that nothing can have been read from it.
    pub fn on_barrier(&mut self, channel: usize, checkpoint: CheckpointId) -> Alignment {
        assert!(!self.is_blocked[channel], "channel {channel} was read while it was blocked");
        if self.newest.is_some_and(|newest| checkpoint < newest) {
            return Alignment::Obsolete;
        }
        if self.current != Some(checkpoint) {
            if self.newest == Some(checkpoint) {
                return Alignment::Obsolete;
            }
            self.release();
            self.current = Some(checkpoint);
            self.newest = Some(checkpoint);
        }
        self.is_blocked[channel] = true;
        self.arrived += 1;
        if self.arrived < self.is_blocked.len() {
            return Alignment::Pending;
        }
        self.release();
        Alignment::Aligned
    }

    fn release(&mut self) {
        self.is_blocked.fill(false);
        self.arrived = 0;
        self.current = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C1: CheckpointId = CheckpointId(1);
    const C2: CheckpointId = CheckpointId(2);

    #[test]
    fn the_last_barrier_aligns_and_reopens() {
        let mut aligner = BarrierAligner::new(3);
        assert_eq!(aligner.on_barrier(1, C1), Alignment::Pending);
        assert!(aligner.is_blocked(1) && !aligner.is_blocked(0));
        assert_eq!(aligner.on_barrier(0, C1), Alignment::Pending);
        assert_eq!(aligner.on_barrier(2, C1), Alignment::Aligned);
        assert!((0..3).all(|channel| !aligner.is_blocked(channel)));
    }

    #[test]
    fn one_channel_aligns_at_once() {
        assert_eq!(BarrierAligner::new(1).on_barrier(0, C1), Alignment::Aligned);
    }

    #[test]
    fn a_newer_barrier_gives_up_an_older_alignment() {
        let mut aligner = BarrierAligner::new(2);
        assert_eq!(aligner.on_barrier(0, C1), Alignment::Pending);
        assert_eq!(aligner.on_barrier(1, C2), Alignment::Pending);
        assert!(!aligner.is_blocked(0) && aligner.is_blocked(1));
        assert_eq!(aligner.on_barrier(0, C2), Alignment::Aligned);
    }

    #[test]
    fn a_late_barrier_of_an_older_checkpoint_is_ignored() {
        let mut aligner = BarrierAligner::new(2);
        aligner.on_barrier(0, C2);
        assert_eq!(aligner.on_barrier(1, C1), Alignment::Obsolete);
        assert!(!aligner.is_blocked(1));
        assert_eq!(aligner.on_barrier(1, C2), Alignment::Aligned);
    }
}
