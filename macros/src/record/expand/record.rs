//! The frame of the implementation, the same for structs and enums.

use proc_macro2::TokenStream;
use quote::quote;

use super::{enums, structs};
use crate::record::model::{Record, Shape};

/// The bodies of the methods; those that have a default may be left out.
pub(super) struct Bodies {
    pub(super) fixed_size: TokenStream,
    pub(super) schema: TokenStream,
    pub(super) encode: TokenStream,
    pub(super) decode: TokenStream,
    pub(super) duplicate: TokenStream,
    /// `encode_fixed` and `decode_fixed`.
    pub(super) fixed: Option<(TokenStream, TokenStream)>,
    pub(super) event_time: Option<TokenStream>,
    pub(super) key_hash: Option<TokenStream>,
}

/// The implementation of `Record`.
pub(in crate::record) fn record(record: &Record) -> TokenStream {
    let bodies = match &record.shape {
        Shape::Struct(fields) => structs::bodies(&record.ident, fields),
        Shape::Enum(variants) => enums::bodies(&record.ident, variants),
    };
    let ident = &record.ident;
    let (impl_generics, type_generics, where_clause) = record.generics.split_for_impl();
    let (required, optional) = (required(&bodies), optional(&bodies));
    quote! {
        #[automatically_derived]
        impl #impl_generics ::flott::plumbing::core::Record for #ident #type_generics #where_clause {
            #required
            #optional
        }
    }
}

fn required(bodies: &Bodies) -> TokenStream {
    let Bodies { fixed_size, schema, encode, decode, duplicate, .. } = bodies;
    let (out, input) = (named_if_used("out", encode), named_if_used("input", decode));
    quote! {
        const FIXED_SIZE: ::core::option::Option<usize> = #fixed_size;
        fn schema() -> ::flott::plumbing::core::Schema {
            #schema
        }
        #[inline]
        fn encode(&self, #out: &mut ::std::vec::Vec<u8>) {
            #encode
        }
        #[inline]
        fn decode(#input: &mut &[u8]) -> ::core::result::Result<Self, ::flott::plumbing::core::DecodeError> {
            #decode
        }
        #[inline]
        fn duplicate(&self) -> Self {
            #duplicate
        }
    }
}

fn optional(bodies: &Bodies) -> TokenStream {
    let fixed = bodies.fixed.as_ref().map(|(encode, decode)| {
        quote! {
            #[inline]
            fn encode_fixed(&self, out: &mut [u8]) {
                #encode
            }
            #[inline]
            fn decode_fixed(
                input: &[u8],
            ) -> ::core::result::Result<Self, ::flott::plumbing::core::DecodeError> {
                #decode
            }
        }
    });
    let event_time = bodies.event_time.as_ref().map(|body| {
        quote! {
            #[inline]
            fn event_time(&self) -> ::core::option::Option<::flott::plumbing::core::EventTime> {
                #body
            }
        }
    });
    let key_hash = bodies.key_hash.as_ref().map(|body| {
        quote! {
            #[inline]
            fn key_hash(&self) -> u64 {
                #body
            }
        }
    });
    quote!(#fixed #event_time #key_hash)
}

/// A parameter's name, led by an underscore where the body is without it.
fn named_if_used(name: &str, body: &TokenStream) -> proc_macro2::Ident {
    let ident = quote::format_ident!("{name}");
    if crate::types::mentions(body, &ident) { ident } else { quote::format_ident!("_{name}") }
}
