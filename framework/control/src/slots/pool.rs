use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use flott_core::{AttemptId, SubtaskIndex, TaskManagerId};

use super::{SlotAssignment, SlotIndex};

/// The slots of all registered TaskManagers.
#[derive(Debug, Default)]
pub struct SlotPool {
    offers: BTreeMap<TaskManagerId, Offer>,
    newest: Option<TaskManagerId>,
}

#[derive(Debug)]
struct Offer {
    slots: u32,
    occupied: BTreeMap<SlotIndex, AttemptId>,
    is_draining: bool,
}

impl SlotPool {
    /// No TaskManager is registered.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A TaskManager offers its slots. Returns false, and takes nothing, when the id is not above every earlier one:
    /// a registration whose connection broke must never be chosen again.
    pub fn register(&mut self, id: TaskManagerId, slots: u32) -> bool {
        if self.newest.is_some_and(|newest| id <= newest) {
            return false;
        }
        self.newest = Some(id);
        self.offers.insert(id, Offer { slots, occupied: BTreeMap::new(), is_draining: false });
        true
    }

    /// The TaskManager's connection broke. Returns whether it was registered.
    pub fn lose(&mut self, id: TaskManagerId) -> bool {
        self.offers.remove(&id).is_some()
    }

    /// The TaskManager said goodbye: it is not chosen any more. Returns whether that is news.
    pub fn drain(&mut self, id: TaskManagerId) -> bool {
        self.offers.get_mut(&id).is_some_and(|offer| !std::mem::replace(&mut offer.is_draining, true))
    }

    /// Marks the chosen slots as used by `attempt`.
    pub fn occupy(&mut self, attempt: AttemptId, assignment: &[SlotAssignment]) {
        for place in assignment {
            if let Some(offer) = self.offers.get_mut(&place.task_manager) {
                let before = offer.occupied.insert(place.slot, attempt);
                assert!(
                    before.is_none(),
                    "slot {} of TaskManager {} is in use",
                    place.slot,
                    place.task_manager
                );
            }
        }
    }

    /// Nothing of `attempt` runs in this TaskManager any more.
    pub fn release(&mut self, attempt: AttemptId, id: TaskManagerId) {
        if let Some(offer) = self.offers.get_mut(&id) {
            offer.occupied.retain(|_, by| *by != attempt);
        }
    }

    /// Number of slots that could be chosen now.
    #[must_use]
    pub fn available(&self) -> usize {
        self.free().count()
    }

    /// Chooses `needed` slots, or none when there are too few. A subtask stays where it ran in `previous` if it can;
    /// the others go to the oldest TaskManagers first, so that spare slots gather in whole TaskManagers.
    #[must_use]
    pub fn choose(&self, needed: u32, previous: &[SlotAssignment]) -> Option<Vec<SlotAssignment>> {
        let mut free: BTreeSet<_> = self.free().collect();
        if free.len() < needed as usize {
            return None;
        }
        let mut chosen: BTreeMap<_, _> = previous
            .iter()
            .filter(|place| place.subtask.0 < needed && free.remove(&(place.task_manager, place.slot)))
            .map(|place| (place.subtask, *place))
            .collect();
        let mut rest = free.into_iter();
        for subtask in (0..needed).map(SubtaskIndex) {
            if let Entry::Vacant(place) = chosen.entry(subtask) {
                let (task_manager, slot) = rest.next()?;
                place.insert(SlotAssignment { subtask, task_manager, slot });
            }
        }
        Some(chosen.into_values().collect())
    }

    fn free(&self) -> impl Iterator<Item = (TaskManagerId, SlotIndex)> + '_ {
        self.offers.iter().filter(|(_, offer)| !offer.is_draining).flat_map(|(&id, offer)| {
            let is_free = |slot: &SlotIndex| !offer.occupied.contains_key(slot);
            (0..offer.slots).map(SlotIndex).filter(is_free).map(move |slot| (id, slot))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Xorshift;

    const ATTEMPT: AttemptId = AttemptId(1);

    fn place(subtask: u32, task_manager: u64, slot: u32) -> SlotAssignment {
        let (subtask, task_manager) = (SubtaskIndex(subtask), TaskManagerId(task_manager));
        SlotAssignment { subtask, task_manager, slot: SlotIndex(slot) }
    }

    fn pool(slots: &[u32]) -> SlotPool {
        let mut pool = SlotPool::new();
        for (id, &slots) in (1..).zip(slots) {
            assert!(pool.register(TaskManagerId(id), slots));
        }
        pool
    }

    #[test]
    fn the_oldest_task_managers_are_filled_first() {
        let chosen = pool(&[2, 2, 2]).choose(3, &[]);
        assert_eq!(chosen, Some(vec![place(0, 1, 0), place(1, 1, 1), place(2, 2, 0)]));
    }

    #[test]
    fn too_few_slots_choose_nothing() {
        assert_eq!(pool(&[1, 1]).choose(3, &[]), None);
        assert_eq!(pool(&[]).choose(1, &[]), None);
    }

    #[test]
    fn a_lost_task_manager_is_never_chosen_again() {
        let mut pool = pool(&[1, 1]);
        assert!(pool.lose(TaskManagerId(1)));
        assert!(!pool.lose(TaskManagerId(1)));
        assert!(!pool.register(TaskManagerId(1), 4));
        assert_eq!(pool.choose(1, &[place(0, 1, 0)]), Some(vec![place(0, 2, 0)]));
        assert_eq!(pool.choose(2, &[]), None);
    }

    #[test]
    fn a_draining_task_manager_is_not_chosen() {
        let mut pool = pool(&[1, 1]);
        assert!(pool.drain(TaskManagerId(1)));
        assert!(!pool.drain(TaskManagerId(1)));
        assert!(!pool.drain(TaskManagerId(9)));
        assert_eq!(pool.choose(1, &[]), Some(vec![place(0, 2, 0)]));
    }

    #[test]
    fn subtasks_stay_where_they_ran() {
        let mut pool = pool(&[1, 1, 1]);
        let before = pool.choose(2, &[]).unwrap();
        pool.lose(TaskManagerId(1));
        assert_eq!(pool.choose(2, &before), Some(vec![place(0, 3, 0), place(1, 2, 0)]));
    }

    #[test]
    fn occupied_slots_come_back_when_their_attempt_is_gone() {
        let mut pool = pool(&[2]);
        pool.occupy(ATTEMPT, &pool.choose(2, &[]).unwrap());
        assert_eq!(pool.available(), 0);
        pool.release(AttemptId(7), TaskManagerId(1));
        assert_eq!(pool.available(), 0);
        pool.release(ATTEMPT, TaskManagerId(1));
        assert_eq!(pool.available(), 2);
    }

    #[test]
    fn random_choices_never_share_or_invent_a_slot() {
        for seed in 0..200 {
            let mut random = Xorshift::new(seed);
            let slots: Vec<u32> = (0..5).map(|_| random.below(4) as u32).collect();
            let mut pool = pool(&slots);
            let before = pool.choose(random.below(6) as u32, &[]).unwrap_or_default();
            let lost = TaskManagerId(1 + random.below(5) as u64);
            pool.lose(lost);
            let needed = random.below(8) as u32;
            let available = pool.available();
            let Some(chosen) = pool.choose(needed, &before) else {
                assert!(available < needed as usize);
                continue;
            };
            let places: BTreeSet<_> = chosen.iter().map(|place| (place.task_manager, place.slot)).collect();
            assert_eq!(places.len(), needed as usize);
            assert!(chosen.iter().map(|place| place.subtask.0).eq(0..needed));
            assert!(chosen.iter().all(|place| place.task_manager != lost));
            assert!(chosen.iter().all(|place| place.slot.0 < slots[place.task_manager.0 as usize - 1]));
        }
    }
}
