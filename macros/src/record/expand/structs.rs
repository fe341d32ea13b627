//! Structs: their fields one after the other.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::record::{Bodies, Hashes};
use crate::record::model::{Codec, Field, Fields};

pub(super) fn bodies(ident: &Ident, fields: &Fields) -> Bodies {
    let all = &fields.fields;
    let sizes = all.iter().map(Field::fixed_size);
    let encode = all.iter().map(|field| field.encode(&of_self(field)));
    let decode = fields.constructor(Field::decode);
    let check_foreign = all.iter().map(|field| field.check_foreign(&of_self(field)));
    let duplicate = fields.constructor(|field| field.duplicate(&of_self(field)));
    Bodies {
        fixed_size: quote!(::flott::plumbing::core::record::fixed_sum(&[#(#sizes),*])),
        schema: fields.schema(ident),
        encode: quote!(#(#encode;)*),
        decode: quote!(::core::result::Result::Ok(Self #decode)),
        duplicate: quote!(Self #duplicate),
        fixed: fields.may_be_fixed().then(|| (encode_fixed(all), decode_fixed(fields))),
        event_time: fields.event_time.map(|time| {
            let member = &all[time.at].member;
            let time = time.unit.converted(&quote!(self.#member));
            quote!(::core::option::Option::Some(#time))
        }),
        hashes: newtype(all).map(|field| Hashes {
            is_unique: field.function("KEY_HASH_IS_UNIQUE"),
            key: call(field, "key_hash", &quote!()),
            table: call(field, "table_hash", &quote!(seed, scratch)),
        }),
        check_foreign: quote!(#(#check_foreign;)*),
    }
}

/// A call of a function of the field's `Record` implementation.
fn call(field: &Field, function: &str, arguments: &TokenStream) -> TokenStream {
    let (function, value) = (field.function(function), of_self(field));
    quote!(#function(#value, #arguments))
}

fn of_self(field: &Field) -> TokenStream {
    let member = &field.member;
    quote!(&self.#member)
}

/// The field of a newtype. It hashes as the type it wraps, so that a key can be given a name without moving.
fn newtype(fields: &[Field]) -> Option<&Field> {
    match fields {
        [field] if field.codec == Codec::Record => Some(field),
        _ => None,
    }
}

fn encode_fixed(fields: &[Field]) -> TokenStream {
    let parts = fields.iter().map(|field| {
        let (size, encode, value) = (field.size(), field.function("encode_fixed"), of_self(field));
        quote! {
            let (head, out) = out.split_at_mut(#size);
            #encode(#value, head);
        }
    });
    quote! {
        #(#parts)*
        ::core::debug_assert!(out.is_empty());
    }
}

fn decode_fixed(fields: &Fields) -> TokenStream {
    let parts = fields.fields.iter().map(|field| {
        let (size, decode, binding) = (field.size(), field.function("decode_fixed"), field.binding());
        quote! {
            let (head, input) = input
                .split_at_checked(#size)
                .ok_or(::flott::plumbing::core::DecodeError::UnexpectedEnd)?;
            let #binding = #decode(head)?;
        }
    });
    let constructor = fields.constructor(|field| {
        let binding = field.binding();
        quote!(#binding)
    });
    quote! {
        #(#parts)*
        ::core::debug_assert!(input.is_empty());
        ::core::result::Result::Ok(Self #constructor)
    }
}
