//! The JobManager: carries out what the [`JobMaster`](flott_control::job::JobMaster) decides, and tells it what happens.
//!
//! [`start`] brings a JobManager to lead, after its [`checks`]; [`driver`] is the one loop that owns everything; [`actions`] carries out actions; [`members`] takes connections of
//! TaskManagers. What takes time runs beside the loop and comes back as an event: [`reading`], [`settling`], [`sweeping`],
//! [`discovery`], writes of [`checkpoints`].

mod actions;
mod auditing;
mod checkpoints;
mod checks;
mod discovery;
mod driver;
mod event;
mod members;
mod outline;
mod reading;
mod report;
mod settling;
mod sinks;
mod start;
mod sweeping;
mod waits;

pub(crate) use start::{Entrance, JobManager, build};
