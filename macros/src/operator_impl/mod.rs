//! `#[operator]`: the logic of an operator.

mod attribute;
mod expand;
mod fallback;
mod frame;
mod model;
mod signature;
mod valid;

pub(crate) use attribute::attribute;
