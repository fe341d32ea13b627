//! When a failed job is tried again: the exponential-delay restart strategy, which never asks what failed, the limit on
//! failures that repeat themselves, and the limit on how long an external system may refuse the job. Errors that no restart
//! can heal do not come here (see `ErrorKind::is_restartable`).

mod refusals;
mod repetition;
mod settings;
mod strategy;

pub use refusals::{Refusal, Refusals};
pub use repetition::Repetition;
pub use settings::RestartSettings;
pub use strategy::{Restart, RestartStrategy};
