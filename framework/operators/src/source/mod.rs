//! The beginning of a task: drives a source's reader and says how far event time has come.

mod operator;

pub use operator::SourceOperator;

#[cfg(test)]
mod tests;
