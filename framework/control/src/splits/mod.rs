//! Which subtask of a source reads which split (FLIP-27, the enumerator's side). It never looks into a split: finding
//! splits is the driver's work, reading them the task's.

mod assignment;
mod restored;
mod snapshot;

pub use assignment::SplitAssignment;
pub use restored::RestoredSource;
pub use snapshot::EnumeratorSnapshot;

#[cfg(test)]
mod tests;
