//! Stateful stream processing in application mode: one binary per job, exactly once.

pub use flott_core::*;
pub use flott_macros::*;

/// What the macros' expansions name. No part of the public API.
#[doc(hidden)]
pub mod plumbing {
    pub use flott_core as core;
    pub use flott_operators as operators;
    pub use serde;
}
