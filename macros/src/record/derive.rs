use proc_macro2::TokenStream;
use syn::DeriveInput;

use super::{expand, fallback, valid};

/// The implementation of `Record` for `input`.
pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    match valid::record(input) {
        Ok(record) => expand::record(&record),
        Err(error) => fallback::record(input, &error),
    }
}
