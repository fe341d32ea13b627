use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::Item;

use super::{expand, fallback, valid};

/// The item as it is, and the implementation of `ProcessFunction`.
pub(crate) fn attribute(arguments: &TokenStream, item: Item) -> TokenStream {
    let implementation = match valid::operator(arguments, &item) {
        Ok(operator) => expand::operator(&operator),
        Err(mistakes) => fallback::operator(&mistakes),
    };
    let mut tokens = item.into_token_stream();
    tokens.extend(implementation);
    tokens
}
