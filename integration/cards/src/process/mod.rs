//! The processes of a job: started, watched, killed, frozen, waited for.

mod cluster;
mod job_process;
mod secret;

pub use cluster::{Cluster, ClusterSpec};
pub use job_process::JobProcess;
pub use secret::make_secret;
