//! Operators on keyed streams: how a batch of keys is handed to state, and how user-written operators are run.

mod keys;
mod process;
mod timers;

pub(crate) use keys::{BatchKeys, parts, prefetch_range};
pub use process::KeyedProcess;

#[cfg(test)]
mod tests;
