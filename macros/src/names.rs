//! The names on which the expansions of `#[derive(Operator)]` and `#[operator]` agree.
//!
//! The two macros do not see each other. The derive leaves these items on the struct, the attribute refers to them; so
//! their names are chosen for the error message in which a user meets them.

use proc_macro2::{Ident, Span};
use quote::format_ident;
use syn::ext::IdentExt;

/// The hidden constant with a timer's number.
pub(crate) fn timer_number(timer: &Ident) -> Ident {
    format_ident!("__timer_field_{}", timer.unraw(), span = timer.span())
}

/// The hidden check that every timer has its method. It takes a bit set of those that have.
pub(crate) fn timer_check(span: Span) -> Ident {
    Ident::new("__derive_operator", span)
}

/// What a timer's method is called after.
pub(crate) const TIMER_METHOD_PREFIX: &str = "on_";
