//! The names on which the expansions of `#[derive(Operator)]` and `#[operator]` agree.
//!
//! The two macros do not see each other. The derive leaves these items on the struct, the attribute refers to them; so
//! their names are chosen for the error message in which a user meets them.

use proc_macro2::{Ident, Span};

/// The hidden function from a timer's name to its number.
pub(crate) fn timer_number(span: Span) -> Ident {
    Ident::new("__timer_number", span)
}

/// The hidden check that every timer has its method. It takes a bit set of those that have.
pub(crate) fn timer_check(span: Span) -> Ident {
    Ident::new("__derive_operator", span)
}

/// The prefix of a timer's method, before the timer's name.
pub(crate) const TIMER_METHOD_PREFIX: &str = "on_";
