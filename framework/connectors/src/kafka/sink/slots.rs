//! Which producer takes the records of which transaction. Decides; touches no producer.
//!
//! ```text
//! Starting → Idle → Open → Pending(n) → Committing(n) → Committed → Quarantined(k) → Idle
//!                                                                               ↘ Released ↗
//! ```
//!
//! A producer that has been in a transaction may be used again only when a checkpoint is complete that was taken after
//! its commit was known, and so does not list that transaction: before that, recovery may still send a commit for it,
//! and the same producer id and epoch would commit whatever is open by then.
//!
//! If a commit was answered late or not at all before it succeeded, a copy of the request may still be under way.
//! Then the producer is retired: its id is used again only by a new instance, whose epoch is a higher one.
//!
//! The id is used again only when all partitions have the marker of its last transaction. If one was left out
//! (KAFKA-20734), the marker of the next transaction would end both, and an abort would take committed records away.

use std::time::Duration;

use flott_core::{CheckpointId, MonotonicTime};

/// Which of a writer's producers.
pub(super) type SlotIndex = usize;

/// Producers that a writer uses at most; its transactional ids are fenced up to this number.
pub(super) const SLOTS_MAX: usize = 16;
/// Producers that are made when the writer starts: one open, one to be committed, one in quarantine.
const SLOTS_AT_START: usize = 3;
/// A commit is reported when its partitions have been inspected, or after this time: a partition can be without a leader.
const INSPECTION_PATIENCE: Duration = Duration::from_secs(10);
/// Producers that are left for checkpoints after slow commits, of which some may fail.
const SLOTS_KEPT_BACK: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotState {
    /// An instance is being made.
    Starting,
    /// Ready for a transaction.
    Idle,
    /// Takes the records since the last barrier.
    Open,
    /// Holds the records before the barrier of this checkpoint, which is not known to be complete.
    Pending(CheckpointId),
    /// Is being committed.
    Committing(CheckpointId),
    /// Committed; the newest snapshot still lists it.
    Committed,
    /// Committed; this snapshot was the first that does not list it.
    Quarantined(CheckpointId),
    /// No recovery commits it again, but its partitions are not known to be closed.
    Released,
    /// Committed, but open in a partition. The slot is never used again.
    Hanging,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    state: SlotState,
    /// The instance must not be used again.
    is_retired: bool,
    /// All partitions have the marker of its last transaction.
    is_closed: bool,
    /// The checkpoint of the transaction whose partitions are being inspected, and since when.
    inspected: Option<(CheckpointId, MonotonicTime)>,
}

/// What the driver is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Make an instance for this slot and let it take over its id.
    Start(SlotIndex),
    /// Commit its transaction; in the order of these actions.
    Commit(SlotIndex),
    /// Find out whether the partitions of its transaction are closed.
    Inspect(SlotIndex),
    /// Drop its instance.
    Retire(SlotIndex),
}

/// What belongs to a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BarrierCut {
    /// The transaction that this barrier closes, if anything was written.
    pub(super) closed: Option<SlotIndex>,
    /// All transactions that the checkpoint must list, oldest first, the closed one included.
    pub(super) listed: Vec<SlotIndex>,
}

/// The slots of one writer.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// Slots that are ready, longest waiting first.
    idle: Vec<SlotIndex>,
    open: Option<SlotIndex>,
    newest_barrier: Option<CheckpointId>,
    /// Takes the quarantine out, to show what that costs: a slot is used again at once.
    #[cfg(feature = "ablation")]
    pub(super) skip_quarantine: bool,
}

impl Slots {
    /// The first instances.
    pub(super) fn start(&mut self, out: &mut Vec<Action>) {
        while self.slots.len() < SLOTS_AT_START {
            self.add(out);
        }
    }

    /// An instance is ready.
    pub(super) fn on_started(&mut self, slot: SlotIndex) {
        assert_eq!(self.slots[slot].state, SlotState::Starting, "slot {slot} starts once");
        self.slots[slot].state = SlotState::Idle;
        self.slots[slot].is_retired = false;
        self.idle.push(slot);
    }

    /// Returns `true` if every slot waits for a checkpoint to be completed, or for partitions to be closed.
    pub(super) fn is_stuck(&self) -> bool {
        let waits = |slot: &Slot| {
            use SlotState::{Committed, Hanging, Pending, Quarantined, Released};
            matches!(slot.state, Pending(_) | Committed | Quarantined(_) | Released | Hanging)
        };
        self.slots.len() == SLOTS_MAX && self.slots.iter().all(waits)
    }

    /// Some slots are kept back while others are being committed. If all were used, all could be committed before the next
    /// barrier: none might be used again before a checkpoint after that barrier, and the barrier would wait behind records
    /// that wait for a slot.
    fn may_open(&self) -> bool {
        let is_spare = |slot: &&Slot| matches!(slot.state, SlotState::Idle | SlotState::Starting);
        let left = SLOTS_MAX - self.slots.len() + self.slots.iter().filter(is_spare).count();
        let is_committing = |slot: &Slot| matches!(slot.state, SlotState::Committing(_));
        !self.idle.is_empty() && (left > SLOTS_KEPT_BACK || !self.slots.iter().any(is_committing))
    }

    /// The open slot.
    pub(super) fn current(&self) -> Option<SlotIndex> {
        self.open
    }

    /// The slot that takes records: the open one, else an idle one, which is open from now on.
    pub(super) fn open(&mut self, out: &mut Vec<Action>) -> Option<SlotIndex> {
        if self.open.is_none() && self.may_open() {
            let slot = self.idle.remove(0);
            self.slots[slot].state = SlotState::Open;
            self.slots[slot].is_closed = false;
            self.open = Some(slot);
            let is_spare = |slot: &Slot| matches!(slot.state, SlotState::Idle | SlotState::Starting);
            if self.slots.len() < SLOTS_MAX && !self.slots.iter().any(is_spare) {
                self.add(out);
            }
        }
        self.open
    }

    /// A barrier cuts the open transaction off.
    pub(super) fn on_barrier(&mut self, checkpoint: CheckpointId) -> BarrierCut {
        assert!(self.newest_barrier < Some(checkpoint), "checkpoint ids grow");
        self.newest_barrier = Some(checkpoint);
        let closed = self.open.take();
        if let Some(slot) = closed {
            self.slots[slot].state = SlotState::Pending(checkpoint);
        }
        for slot in &mut self.slots {
            if slot.state == SlotState::Committed {
                slot.state = SlotState::Quarantined(checkpoint);
            }
        }
        BarrierCut { closed, listed: self.in_order(|_| true).map(|(slot, _)| slot).collect() }
    }

    /// A checkpoint is complete.
    pub(super) fn on_complete(&mut self, checkpoint: CheckpointId, out: &mut Vec<Action>) {
        let is_due = |state| matches!(state, SlotState::Pending(pending) if pending <= checkpoint);
        let due: Vec<_> = self.in_order(is_due).collect();
        for (slot, pending) in due {
            self.slots[slot].state = SlotState::Committing(pending);
            out.push(Action::Commit(slot));
        }
        for slot in 0..self.slots.len() {
            if matches!(self.slots[slot].state, SlotState::Quarantined(since) if since <= checkpoint) {
                self.release(slot, out);
            }
        }
    }

    /// A commit succeeded. `is_clean`: its first request was answered with success.
    pub(super) fn on_committed(
        &mut self,
        slot: SlotIndex,
        is_clean: bool,
        now: MonotonicTime,
        out: &mut Vec<Action>,
    ) {
        let state = self.slots[slot].state;
        let SlotState::Committing(checkpoint) = state else {
            panic!("slot {slot} is {state:?}, not being committed")
        };
        self.slots[slot].state = SlotState::Committed;
        self.slots[slot].is_retired = !is_clean;
        if !is_clean {
            out.push(Action::Retire(slot));
        }
        #[cfg(feature = "ablation")]
        if self.skip_quarantine {
            self.slots[slot].is_closed = true;
            self.release(slot, out);
            self.idle.rotate_right(usize::from(is_clean));
            return;
        }
        self.slots[slot].inspected = Some((checkpoint, now));
        out.push(Action::Inspect(slot));
    }

    /// All partitions of the committed transaction have its marker, or one of them never gets it.
    pub(super) fn on_inspected(&mut self, slot: SlotIndex, is_closed: bool, out: &mut Vec<Action>) {
        use SlotState::{Committed, Quarantined, Released};
        let Slot { state, is_retired, .. } = self.slots[slot];
        assert!(matches!(state, Committed | Quarantined(_) | Released), "slot {slot} is {state:?}");
        self.slots[slot].is_closed = is_closed;
        self.slots[slot].inspected = None;
        if !is_closed {
            self.slots[slot].state = SlotState::Hanging;
            out.extend((!is_retired).then_some(Action::Retire(slot)));
        } else if state == Released {
            self.release(slot, out);
        }
    }

    /// Returns `true` if every transaction of the checkpoints up to this one is known to be committed, and its partitions have
    /// been inspected or could not be within [`INSPECTION_PATIENCE`].
    pub(super) fn has_committed(&self, checkpoint: CheckpointId, now: MonotonicTime) -> bool {
        let is_awaited = |slot: &Slot| {
            slot.inspected
                .is_some_and(|(of, since)| of <= checkpoint && now.since(since) < INSPECTION_PATIENCE)
        };
        self.in_order(|_| true).all(|(_, pending)| pending > checkpoint) && !self.slots.iter().any(is_awaited)
    }

    /// No recovery commits the slot's last transaction again.
    fn release(&mut self, slot: SlotIndex, out: &mut Vec<Action>) {
        let Slot { is_retired, is_closed, .. } = self.slots[slot];
        self.slots[slot].state = match (is_closed, is_retired) {
            (false, _) => SlotState::Released,
            (true, true) => SlotState::Starting,
            (true, false) => SlotState::Idle,
        };
        match self.slots[slot].state {
            SlotState::Starting => out.push(Action::Start(slot)),
            SlotState::Idle => self.idle.push(slot),
            _ => {}
        }
    }

    fn add(&mut self, out: &mut Vec<Action>) {
        out.push(Action::Start(self.slots.len()));
        let (state, is_retired, is_closed, inspected) = (SlotState::Starting, false, false, None);
        self.slots.push(Slot { state, is_retired, is_closed, inspected });
    }

    /// Slots with a transaction that is not known to be committed, oldest checkpoint first.
    fn in_order(
        &self,
        is_wanted: impl Fn(SlotState) -> bool,
    ) -> impl Iterator<Item = (SlotIndex, CheckpointId)> {
        let mut found: Vec<_> = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| is_wanted(slot.state))
            .filter_map(|(index, slot)| match slot.state {
                SlotState::Pending(checkpoint) | SlotState::Committing(checkpoint) => {
                    Some((index, checkpoint))
                }
                _ => None,
            })
            .collect();
        found.sort_by_key(|&(_, checkpoint)| checkpoint);
        found.into_iter()
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
