use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn checkpoint(id: u64) -> CheckpointId {
    CheckpointId(id)
}

/// Slots of which the first three are ready.
fn ready() -> Slots {
    let mut slots = Slots::default();
    let mut actions = Vec::new();
    slots.start(&mut actions);
    assert_eq!(actions, [Action::Start(0), Action::Start(1), Action::Start(2)]);
    (0..3).for_each(|slot| slots.on_started(slot));
    slots
}

/// Returns `true` if `open` would find a slot.
fn is_ready(slots: &Slots) -> bool {
    slots.current().is_some() || slots.may_open()
}

fn open(slots: &mut Slots) -> SlotIndex {
    slots.open(&mut Vec::new()).unwrap()
}

fn complete(slots: &mut Slots, id: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    slots.on_complete(checkpoint(id), &mut actions);
    actions
}

/// Committed, with its marker in all partitions.
fn committed(slots: &mut Slots, slot: SlotIndex, is_clean: bool) -> Vec<Action> {
    let mut actions = committed_and_unseen(slots, slot, is_clean);
    assert_eq!(actions.pop(), Some(Action::Inspect(slot)));
    actions.extend(inspected(slots, slot, true));
    actions
}

fn committed_and_unseen(slots: &mut Slots, slot: SlotIndex, is_clean: bool) -> Vec<Action> {
    let mut actions = Vec::new();
    slots.on_committed(slot, is_clean, MonotonicTime::ZERO, &mut actions);
    actions
}

fn inspected(slots: &mut Slots, slot: SlotIndex, is_closed: bool) -> Vec<Action> {
    let mut actions = Vec::new();
    slots.on_inspected(slot, is_closed, &mut actions);
    actions
}

#[test]
fn nothing_is_open_before_an_instance_is_ready() {
    let mut slots = Slots::default();
    slots.start(&mut Vec::new());
    assert!(!is_ready(&slots));
    assert_eq!(slots.open(&mut Vec::new()), None);
    slots.on_started(1);
    assert!(is_ready(&slots));
    assert_eq!(open(&mut slots), 1);
}

#[test]
fn an_empty_transaction_is_not_listed() {
    let mut slots = ready();
    assert_eq!(slots.on_barrier(checkpoint(1)), BarrierCut { closed: None, listed: vec![] });
    assert_eq!(complete(&mut slots, 1), []);
}

#[test]
fn in_steady_state_three_slots_take_turns() {
    let mut slots = ready();
    let mut used = Vec::new();
    for id in 1..=9 {
        let slot = open(&mut slots);
        used.push(slot);
        assert_eq!(slots.on_barrier(checkpoint(id)), BarrierCut { closed: Some(slot), listed: vec![slot] });
        assert_eq!(complete(&mut slots, id), [Action::Commit(slot)]);
        assert_eq!(committed(&mut slots, slot, true), []);
    }
    assert_eq!(used, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn transactions_of_checkpoints_that_failed_ride_along() {
    let mut slots = ready();
    open(&mut slots);
    slots.on_barrier(checkpoint(1));
    open(&mut slots);
    let cut = slots.on_barrier(checkpoint(2));
    assert_eq!(cut, BarrierCut { closed: Some(1), listed: vec![0, 1] });
    assert_eq!(complete(&mut slots, 2), [Action::Commit(0), Action::Commit(1)]);
    // A commit under way is listed until it is known to have succeeded.
    assert_eq!(slots.on_barrier(checkpoint(3)).listed, [0, 1]);
    committed(&mut slots, 0, true);
    assert_eq!(slots.on_barrier(checkpoint(4)).listed, [1]);
    assert!(!has_committed(&slots, 2, 0));
    committed(&mut slots, 1, true);
    assert!(has_committed(&slots, 2, 0));
}

fn has_committed(slots: &Slots, id: u64, seconds: u64) -> bool {
    slots.has_committed(checkpoint(id), MonotonicTime::ZERO + Duration::from_secs(seconds))
}

#[test]
fn a_commit_is_reported_when_its_partitions_have_been_inspected() {
    for is_closed in [true, false] {
        let mut slots = ready();
        let slot = open(&mut slots);
        slots.on_barrier(checkpoint(2));
        complete(&mut slots, 2);
        committed_and_unseen(&mut slots, slot, true);
        assert!(has_committed(&slots, 1, 0), "it is of a later checkpoint");
        assert!(!has_committed(&slots, 2, 9));
        assert!(has_committed(&slots, 2, 10), "a partition is without a leader: not for ever");
        inspected(&mut slots, slot, is_closed);
        assert!(has_committed(&slots, 2, 9));
    }
}

#[test]
fn only_what_a_complete_checkpoint_lists_is_committed() {
    let mut slots = ready();
    open(&mut slots);
    slots.on_barrier(checkpoint(1));
    open(&mut slots);
    slots.on_barrier(checkpoint(2));
    assert_eq!(complete(&mut slots, 1), [Action::Commit(0)]);
    assert_eq!(complete(&mut slots, 1), []);
}

#[test]
fn a_committed_slot_waits_for_a_checkpoint_that_does_not_list_it() {
    let mut slots = ready();
    let slot = open(&mut slots);
    slots.on_barrier(checkpoint(1));
    slots.on_barrier(checkpoint(2));
    complete(&mut slots, 1);
    committed(&mut slots, slot, true);
    // Checkpoint 2 lists it: its completion frees nothing.
    complete(&mut slots, 2);
    assert_eq!(slots.slots[slot].state, SlotState::Committed);
    slots.on_barrier(checkpoint(3));
    assert_eq!(slots.slots[slot].state, SlotState::Quarantined(checkpoint(3)));
    complete(&mut slots, 3);
    assert_eq!(slots.slots[slot].state, SlotState::Idle);
}

#[test]
fn an_instance_whose_commit_was_unclear_is_replaced_after_quarantine() {
    let mut slots = ready();
    let slot = open(&mut slots);
    slots.on_barrier(checkpoint(1));
    complete(&mut slots, 1);
    assert_eq!(committed(&mut slots, slot, false), [Action::Retire(slot)]);
    slots.on_barrier(checkpoint(2));
    assert_eq!(complete(&mut slots, 2), [Action::Start(slot)]);
    assert_eq!(slots.slots[slot].state, SlotState::Starting);
    slots.on_started(slot);
    assert!(!slots.slots[slot].is_retired);
}

#[test]
fn a_slot_whose_partitions_are_not_known_to_be_closed_is_not_used_again() {
    for is_clean in [true, false] {
        let mut slots = ready();
        let slot = open(&mut slots);
        slots.on_barrier(checkpoint(1));
        complete(&mut slots, 1);
        committed_and_unseen(&mut slots, slot, is_clean);
        slots.on_barrier(checkpoint(2));
        assert_eq!(complete(&mut slots, 2), []);
        assert_eq!(slots.slots[slot].state, SlotState::Released);
        let start = (!is_clean).then_some(Action::Start(slot));
        assert_eq!(inspected(&mut slots, slot, true), Vec::from_iter(start));
    }
}

#[test]
fn a_slot_that_hangs_is_given_up() {
    for is_clean in [true, false] {
        for is_released in [true, false] {
            let mut slots = ready();
            let slot = open(&mut slots);
            slots.on_barrier(checkpoint(1));
            complete(&mut slots, 1);
            committed_and_unseen(&mut slots, slot, is_clean);
            slots.on_barrier(checkpoint(2));
            if is_released {
                complete(&mut slots, 2);
            }
            let retire = is_clean.then_some(Action::Retire(slot));
            assert_eq!(inspected(&mut slots, slot, false), Vec::from_iter(retire));
            assert_eq!(complete(&mut slots, 2), []);
            assert_eq!(slots.slots[slot].state, SlotState::Hanging);
            assert!(is_ready(&slots), "others take its place");
        }
    }
}

#[test]
fn slots_are_added_ahead_of_need_and_not_without_end() {
    let mut slots = ready();
    let mut started = 3;
    for id in 1..=SLOTS_MAX as u64 {
        let mut actions = Vec::new();
        assert!(slots.open(&mut actions).is_some());
        for action in actions {
            assert_eq!(action, Action::Start(started));
            slots.on_started(started);
            started += 1;
        }
        slots.on_barrier(checkpoint(id));
    }
    assert_eq!(started, SLOTS_MAX);
    assert!(!is_ready(&slots), "all wait for a checkpoint to complete: back-pressure");
    assert_eq!(complete(&mut slots, SLOTS_MAX as u64).len(), SLOTS_MAX);
}

#[test]
fn slots_are_kept_for_barriers_that_free_all_others() {
    let mut slots = ready();
    let mut barrier = 0;
    let mut take = |slots: &mut Slots| {
        let mut actions = Vec::new();
        slots.open(&mut actions).unwrap();
        for action in actions {
            if let Action::Start(slot) = action {
                slots.on_started(slot);
            }
        }
        barrier += 1;
        slots.on_barrier(checkpoint(barrier));
        barrier
    };
    // No commit succeeds for a long time.
    let mut used = 0;
    while is_ready(&slots) {
        let barrier = take(&mut slots);
        complete(&mut slots, barrier);
        used += 1;
    }
    assert_eq!(used, SLOTS_MAX - SLOTS_KEPT_BACK);
    for slot in 0..used {
        assert!(!is_ready(&slots));
        committed(&mut slots, slot, true);
    }
    // And then checkpoints fail.
    for _ in 1..SLOTS_KEPT_BACK {
        take(&mut slots);
    }
    let barrier = take(&mut slots);
    complete(&mut slots, barrier);
    assert!(is_ready(&slots));
}

/// A small generator, so that a failing seed can be repeated.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = flott_core::hash::word(self.0);
        self.0 % bound
    }
}

/// What the world knows of a slot, beside what the slots say.
#[derive(Default)]
struct World {
    /// Transactions by slot, as numbers.
    transaction: BTreeMap<SlotIndex, u64>,
    open: BTreeSet<u64>,
    committed: BTreeSet<u64>,
    /// What each checkpoint lists, until it fails or is complete.
    checkpoints: BTreeMap<u64, BTreeSet<u64>>,
    newest_complete: BTreeSet<u64>,
    committing: Vec<SlotIndex>,
    inspecting: Vec<SlotIndex>,
    starting: Vec<SlotIndex>,
    retired: BTreeSet<SlotIndex>,
    /// Transactions whose marker is in all partitions.
    closed: BTreeSet<u64>,
}

impl World {
    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(slot) => {
                    // The old instance's transaction must be beyond the reach of any recovery.
                    self.assert_free(slot);
                    self.retired.remove(&slot);
                    self.starting.push(slot);
                }
                Action::Commit(slot) => {
                    let transaction = self.transaction[&slot];
                    assert!(self.newest_complete.contains(&transaction), "commit of what is not listed");
                    self.committing.push(slot);
                }
                Action::Inspect(slot) => self.inspecting.push(slot),
                Action::Retire(slot) => assert!(self.retired.insert(slot)),
            }
        }
    }

    /// No checkpoint that recovery could start from lists the slot's last transaction.
    fn assert_free(&self, slot: SlotIndex) {
        let Some(last) = self.transaction.get(&slot) else { return };
        assert!(
            self.committed.contains(last),
            "slot {slot} is used again and transaction {last} not committed"
        );
        assert!(
            self.closed.contains(last),
            "slot {slot} is used again and transaction {last} open somewhere"
        );
        assert!(
            !self.newest_complete.contains(last),
            "slot {slot} is used again and transaction {last} listed"
        );
        assert!(
            self.checkpoints.values().all(|listed| !listed.contains(last)),
            "listed by a running checkpoint"
        );
    }
}

#[test]
fn slots_are_stuck_when_only_a_completed_checkpoint_can_free_one() {
    let mut slots = ready();
    for id in 1..=SLOTS_MAX as u64 {
        assert!(!slots.is_stuck());
        let mut actions = Vec::new();
        slots.open(&mut actions).unwrap();
        slots.on_barrier(checkpoint(id));
        for action in actions {
            let Action::Start(slot) = action else { panic!("{action:?}") };
            slots.on_started(slot);
        }
    }
    assert!(slots.is_stuck());
    complete(&mut slots, 1);
    assert!(!slots.is_stuck(), "one is being committed");
    committed(&mut slots, 0, true);
    assert!(slots.is_stuck(), "it waits for the checkpoint after the next barrier");
}

#[test]
fn random_walks_never_reuse_what_recovery_may_commit() {
    for seed in 0..400 {
        walk(seed, 400);
    }
}

fn walk(seed: u64, steps: usize) {
    let mut random = Seeded(seed);
    let (mut slots, mut world) = (Slots::default(), World::default());
    let (mut next_transaction, mut next_checkpoint) = (0, 1);
    let mut actions = Vec::new();
    slots.start(&mut actions);
    world.act(std::mem::take(&mut actions));
    for _ in 0..steps {
        match random.below(7) {
            0 | 1 => {
                let had = slots.current();
                if let Some(slot) = slots.open(&mut actions)
                    && had.is_none()
                {
                    world.assert_free(slot);
                    assert!(!world.retired.contains(&slot), "a retired instance is open");
                    world.transaction.insert(slot, next_transaction);
                    world.open.insert(next_transaction);
                    next_transaction += 1;
                }
            }
            2 => {
                let cut = slots.on_barrier(checkpoint(next_checkpoint));
                let listed: BTreeSet<_> = cut.listed.iter().map(|slot| world.transaction[slot]).collect();
                let unfinished: BTreeSet<_> = world.open.difference(&world.committed).copied().collect();
                assert!(unfinished.is_subset(&listed), "seed {seed}: a transaction is forgotten");
                world.checkpoints.insert(next_checkpoint, listed);
                next_checkpoint += 1;
            }
            3 => {
                // Checkpoints complete in order; those before have failed or were complete.
                if let Some(&id) = world.checkpoints.keys().nth(random.below(3) as usize) {
                    let later = world.checkpoints.split_off(&(id + 1));
                    world.newest_complete = world.checkpoints.remove(&id).unwrap();
                    world.checkpoints = later;
                    slots.on_complete(checkpoint(id), &mut actions);
                }
            }
            4 => {
                if !world.starting.is_empty() {
                    let index = random.below(world.starting.len() as u64) as usize;
                    slots.on_started(world.starting.swap_remove(index));
                }
            }
            5 => {
                if !world.inspecting.is_empty() {
                    let index = random.below(world.inspecting.len() as u64) as usize;
                    let slot = world.inspecting.swap_remove(index);
                    let is_closed = random.below(32) != 0;
                    if is_closed {
                        world.closed.insert(world.transaction[&slot]);
                    }
                    slots.on_inspected(slot, is_closed, &mut actions);
                }
            }
            _ => {
                if !world.committing.is_empty() {
                    let slot = world.committing.remove(0);
                    world.committed.insert(world.transaction[&slot]);
                    slots.on_committed(slot, random.below(8) != 0, MonotonicTime::ZERO, &mut actions);
                }
            }
        }
        world.act(std::mem::take(&mut actions));
    }
}

#[cfg(feature = "ablation")]
#[test]
fn without_quarantine_a_listed_producer_is_used_again() {
    let mut slots = ready();
    slots.skip_quarantine = true;
    assert_eq!(open(&mut slots), 0);
    slots.on_barrier(checkpoint(1));
    complete(&mut slots, 1);
    committed(&mut slots, 0, true);
    assert_eq!(open(&mut slots), 0);
}
