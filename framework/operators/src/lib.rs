//! Built-in operators, written against the core contracts.
#![forbid(unsafe_code)]

pub mod function;
