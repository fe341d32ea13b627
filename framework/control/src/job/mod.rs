//! The life of the one job of this cluster. Start at [`JobMaster`]: it owns the other deciders and is the only one that
//! the driver talks to. It consists of a state and a world: each state is a type with its data and its reactions to facts
//! (`JobState`), and the world holds what outlives a state.
//!
//! ```text
//! Created ─► Recovering ─► Executing ─► Closing ─► Over
//!                ▲             │           ▲
//!                └── failure ──┘           │  (failed for good, cancelled, suspended)
//! ```
//!
//! *Recovering* settles what the last checkpoint left open the moment an attempt is over, and deploys the next attempt
//! when that is done, the restart delay has passed and there are slots. *Executing* goes from deploying to running, and
//! ends by finishing (a bounded job) or stopping (a suspended one). *Closing* settles once more and waits for the tasks
//! to go. Tasks that still have to go are tracked beside the state: they do not hold up a restart on other slots. So are
//! the sweeps for what tasks open that nobody has seen go.

mod action;
mod closing;
mod created;
mod ending;
mod executing;
mod fact;
mod master;
mod outline;
mod over;
mod recovering;
mod restart_policy;
mod restored;
mod run_history;
mod settings;
mod settlement;
mod shutdown;
mod sources;
mod state;
mod status;
mod sweeps;
mod world;

pub use action::Action;
pub use fact::Fact;
pub use master::JobMaster;
pub use outline::{JobOutline, VertexOutline};
pub use restored::{History, RestoredCheckpoint};
pub use settings::JobSettings;
pub use settlement::nothing_to_restore;
pub use shutdown::ShutdownStep;
pub use status::JobStatus;

#[cfg(test)]
mod tests;
