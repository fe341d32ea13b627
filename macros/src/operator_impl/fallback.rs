//! After a mistake: an implementation that only type-checks, so that the mistake is the one error shown.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ItemImpl, Type, parse_quote};

use super::{frame::Frame, valid::Mistakes};
use crate::types;

/// The mistakes as errors, and an implementation of `ProcessFunction` without content.
pub(super) fn operator(mistakes: &Mistakes<'_>) -> TokenStream {
    let errors = mistakes.error.to_compile_error();
    let implementation = mistakes.item.map(|item| implementation(item, mistakes));
    quote!(#errors #implementation)
}

fn implementation(item: &ItemImpl, mistakes: &Mistakes<'_>) -> TokenStream {
    let nothing: Type = parse_quote!(());
    let input = mistakes.input.as_ref().map(referent).filter(|ty| is_sized(ty));
    let frame = Frame {
        self_ty: &item.self_ty,
        generics: &item.generics,
        input: input.unwrap_or(&nothing),
        output: mistakes.output.as_ref(),
        key: mistakes.key.as_ref(),
    };
    let body = quote!(::core::unreachable!());
    frame.filled(&body, &body)
}

/// A record that is borrowed by mistake was meant to be the one behind the reference.
fn referent(ty: &Type) -> &Type {
    if let Type::Reference(reference) = ty { &reference.elem } else { ty }
}

fn is_sized(ty: &Type) -> bool {
    !matches!(ty, Type::ImplTrait(_) | Type::TraitObject(_) | Type::Slice(_))
        && !types::is_named(ty, &["str"])
}
