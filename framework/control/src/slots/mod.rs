//! Which slots exist and which of them a job gets. Slot sharing: the slot with index i of an assignment runs subtask i
//! of every vertex. Spare slots are standby. It never deploys: see [`crate::job`].

mod assignment;
mod pool;

pub use assignment::{SlotAssignment, SlotIndex};
pub use pool::SlotPool;
