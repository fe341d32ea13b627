//! After a mistake: an implementation that only type-checks, so that the mistake is the one error shown.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, parse_quote};

/// The mistakes as errors, and an implementation of `Record` without content.
pub(super) fn record(input: &DeriveInput, error: &syn::Error) -> TokenStream {
    let errors = error.to_compile_error();
    let ident = &input.ident;
    let mut generics = input.generics.clone();
    if !generics.params.is_empty() {
        generics.make_where_clause().predicates.push(parse_quote! {
            Self: ::core::marker::Sized + ::core::marker::Send + ::core::marker::Sync + 'static
        });
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let core = quote!(::flott::plumbing::core);
    quote! {
        #errors

        #[automatically_derived]
        impl #impl_generics #core::Record for #ident #type_generics #where_clause {
            const FIXED_SIZE: ::core::option::Option<usize> = ::core::option::Option::None;
            fn schema() -> #core::Schema {
                ::core::unreachable!()
            }
            fn encode(&self, _out: &mut ::std::vec::Vec<u8>) {
                ::core::unreachable!()
            }
            fn decode(_input: &mut &[u8]) -> ::core::result::Result<Self, #core::DecodeError> {
                ::core::unreachable!()
            }
            fn duplicate(&self) -> Self {
                ::core::unreachable!()
            }
        }
    }
}
