//! After a mistake: a `main` that the compiler accepts, so that the mistake is the one error shown.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ItemFn;

/// The mistakes as errors, and a `main` around the user's function.
pub(super) fn main(function: &ItemFn, error: &syn::Error) -> TokenStream {
    let errors = error.to_compile_error();
    quote! {
        #errors

        fn main() {
            #[allow(dead_code)]
            #function
        }
    }
}
