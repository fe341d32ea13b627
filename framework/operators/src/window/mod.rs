//! Tumbling event-time windows with incremental aggregation.
//!
//! [`TumblingWindows`] says which window a record belongs to, [`Aggregate`] what is made of a window's records, and
//! [`WindowOperator`] keeps one accumulator per window and key. Windows are indexed by time: a watermark costs what it
//! fires.

mod aggregate;
mod assigner;
mod operator;
mod tables;

pub use aggregate::{Aggregate, Count, Fold, Sum};
pub use assigner::{TumblingWindows, Window};
pub use operator::{LATE, WindowOperator};

#[cfg(test)]
mod tests;
