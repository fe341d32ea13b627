//! Decisions of the JobManager as plain state machines: facts in, actions out. No I/O, no clock.
//!
//! Start reading at [`job::JobMaster`], which owns all the others. Every decider here has the same shape: facts come
//! in with the present time as an argument, actions go out as plain values, and `next_deadline` says when the driver
//! has to call `on_deadline`. Nothing here waits, locks, or depends on the order of a hash map, so one seed replays a
//! whole life of a job.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod job;
pub mod liveness;
pub mod restart;
pub mod slots;
pub mod splits;

#[cfg(test)]
mod testing;
