use proc_macro2::TokenStream;
use syn::ItemFn;

use super::{expand, fallback, valid};

/// The entry point of the job's binary.
pub(crate) fn attribute(arguments: &TokenStream, function: &ItemFn) -> TokenStream {
    match valid::main(arguments, function) {
        Ok(main) => expand::main(&main, function),
        Err(error) => fallback::main(function, &error),
    }
}
