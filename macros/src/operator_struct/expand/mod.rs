//! From model to tokens.

mod inherent;
mod operator;
mod operator_state;

pub(super) use operator::operator;
