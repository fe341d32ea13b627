use proc_macro2::TokenStream;
use syn::DeriveInput;

use super::{expand, fallback, valid};

/// Constructor, `Clone` and `OperatorState` for `input`.
pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    match valid::operator(input) {
        Ok(operator) => expand::operator(&operator),
        Err(error) => fallback::operator(input, &error),
    }
}
