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
    pub(super) hashes: Option<Hashes>,
    /// Statements.
    pub(super) check_foreign: TokenStream,
}

/// Those of the field that a newtype wraps.
pub(super) struct Hashes {
    pub(super) is_unique: TokenStream,
    pub(super) key: TokenStream,
    pub(super) table: TokenStream,
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
    let Bodies { fixed_size, schema, encode, decode, duplicate, check_foreign, .. } = bodies;
    let (out, input) = (named_if_used("out", encode), named_if_used("input", decode));
    let check = named_if_used("check", check_foreign);
    quote! {
        const FIXED_SIZE: ::core::option::Option<usize> = #fixed_size;
        fn schema() -> ::flott::plumbing::core::Schema {
            ::flott::plumbing::core::Schema::of::<Self>(|| #schema)
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
        fn check_foreign(
            &self,
            #check: &mut ::flott::plumbing::core::record::ForeignCheck,
        ) -> ::core::result::Result<(), ::flott::plumbing::core::record::Unreadable> {
            #check_foreign
            ::core::result::Result::Ok(())
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
    let hashes = bodies.hashes.as_ref().map(|Hashes { is_unique, key, table }| {
        quote! {
            const KEY_HASH_IS_UNIQUE: bool = #is_unique;
            #[inline]
            fn key_hash(&self) -> u64 {
                #key
            }
            #[inline]
            fn table_hash(
                &self,
                seed: ::flott::plumbing::core::hash::HashSeed,
                scratch: &mut ::std::vec::Vec<u8>,
            ) -> u64 {
                #table
            }
        }
    });
    quote!(#fixed #event_time #hashes)
}

/// A parameter's name, led by an underscore where the body is without it.
fn named_if_used(name: &str, body: &TokenStream) -> proc_macro2::Ident {
    let ident = quote::format_ident!("{name}");
    if crate::types::mentions(body, &ident) { ident } else { quote::format_ident!("_{name}") }
}
