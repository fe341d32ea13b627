//! Consecutive stateless closures, fused at compile time into one operator with one loop.
//!
//! [`Transform`] is what a closure does to one record; [`Identity`] starts a chain and methods such as
//! [`Transform::map`] lengthen it. [`FusedOperator`] runs a chain over batches.

mod closures;
mod operator;
mod transform;

pub use closures::{Filter, FlatMap, Inspect, Map, TryFilter, TryFlatMap, TryMap};
pub use operator::FusedOperator;
pub use transform::{Identity, Shape, Transform};

#[cfg(test)]
mod tests;
