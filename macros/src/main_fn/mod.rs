//! `#[flott::main]`.

mod attribute;
mod expand;
mod fallback;
mod model;
mod valid;

pub(crate) use attribute::attribute;
