//! When a failed job is tried again: the exponential-delay restart strategy. It never asks what failed; errors that no
//! restart can heal do not come here (see `ErrorKind::is_restartable`).

mod settings;
mod strategy;

pub use settings::RestartSettings;
pub use strategy::{Restart, RestartStrategy};
