//! `#[derive(Operator)]`: the declared parts of an operator.

mod attr;
mod derive;
mod expand;
mod fallback;
mod model;
mod valid;

pub(crate) use derive::derive;
