//! From model to tokens.

mod enums;
mod fields;
mod record;
mod structs;

pub(super) use record::record;
