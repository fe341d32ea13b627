//! The life of a job, told by whole action lists.

mod checkpoints;
mod closing;
mod kit;
mod recovery;
mod start;
mod sweeps;
mod walk;
