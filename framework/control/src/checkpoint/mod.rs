//! When a checkpoint is triggered, when it is complete, and which ones are kept. Start at [`CheckpointCoordinator`].
//!
//! A checkpoint is *collecting* until every task acknowledged it, *storing* while the driver writes its manifest, and
//! *completed* when that is durable. While one is storing nobody may settle transactions: its outcome decides which
//! transactions are to be committed.

mod action;
mod commits;
mod completed;
mod coordinator;
mod kind;
mod pending;
mod refusal;
mod schedule;
mod settings;
mod store_failure;

pub use action::{CheckpointAction, Part};
pub use commits::CommitProgress;
pub use completed::CompletedCheckpoints;
pub use coordinator::CheckpointCoordinator;
pub use kind::CheckpointKind;
pub use refusal::AckRefusal;
pub use settings::CheckpointSettings;
pub use store_failure::StoreFailure;

#[cfg(test)]
mod tests;
