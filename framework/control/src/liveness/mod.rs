//! Which TaskManagers are alive. Owns the heartbeat deadlines; a lost connection is told to it as a fact and needs no
//! deadline. It never decides what happens to a job: see [`crate::job`].

mod heartbeats;
mod settings;

pub use heartbeats::Heartbeats;
pub use settings::LivenessSettings;
