//! What is done with one field, and with the fields of a struct or variant.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Member, spanned::Spanned};

use crate::{
    record::model::{Codec, EventTimeUnit, Field, Fields},
    types,
};

/// Types of the standard library whose values differ in size.
const VARIABLE_SIZE: [&str; 4] = ["BTreeMap", "Option", "String", "Vec"];

impl Field {
    /// A function of the field's `Record` implementation. It has the span of the type, for the error that there is
    /// none.
    pub(super) fn function(&self, name: &str) -> TokenStream {
        let (ty, name) = (&self.ty, Ident::new(name, Span::call_site()));
        let record = quote_spanned!(ty.span()=> ::flott::plumbing::core::Record);
        quote!(<#ty as #record>::#name)
    }

    pub(super) fn fixed_size(&self) -> TokenStream {
        match self.codec {
            Codec::Record => self.function("FIXED_SIZE"),
            Codec::Serde { .. } => quote!(::core::option::Option::None),
        }
    }

    /// The field's size where the whole record is of fixed size. No other code calls for it.
    pub(super) fn size(&self) -> TokenStream {
        let fixed_size = self.fixed_size();
        quote!(#fixed_size.unwrap_or_default())
    }

    pub(super) fn encode(&self, value: &TokenStream) -> TokenStream {
        match self.codec {
            Codec::Record => {
                let encode = self.function("encode");
                quote!(#encode(#value, out))
            }
            Codec::Serde { .. } => {
                let ty = &self.ty;
                quote!(::flott::plumbing::core::record::encode_foreign::<#ty>(#value, out))
            }
        }
    }

    pub(super) fn decode(&self) -> TokenStream {
        match self.codec {
            Codec::Record => {
                let decode = self.function("decode");
                quote!(#decode(input)?)
            }
            Codec::Serde { .. } => {
                let ty = &self.ty;
                quote!(::flott::plumbing::core::record::decode_foreign::<#ty>(input)?)
            }
        }
    }

    pub(super) fn duplicate(&self, value: &TokenStream) -> TokenStream {
        match self.codec {
            Codec::Record => {
                let duplicate = self.function("duplicate");
                quote!(#duplicate(#value))
            }
            Codec::Serde { .. } => {
                let ty = &self.ty;
                let clone = quote_spanned!(ty.span()=> ::core::clone::Clone);
                quote!(<#ty as #clone>::clone(#value))
            }
        }
    }

    /// Gives foreign values to the check.
    pub(super) fn check_foreign(&self, value: &TokenStream) -> TokenStream {
        match self.codec {
            Codec::Record => {
                let check_foreign = self.function("check_foreign");
                quote!(#check_foreign(#value, check)?)
            }
            Codec::Serde { .. } => {
                let ty = &self.ty;
                quote!(check.value::<#ty>(#value)?)
            }
        }
    }

    fn schema(&self) -> TokenStream {
        let ty = &self.ty;
        let (name, version) = match self.codec {
            Codec::Record => {
                let schema = self.function("schema");
                return quote!(#schema());
            }
            // Only the compiler knows what stands for the parameters.
            Codec::Serde { is_generic: true, version } => {
                (quote!(::flott::plumbing::core::record::foreign_name::<#ty>()), version)
            }
            Codec::Serde { is_generic: false, version } => {
                let name = types::short(ty);
                (quote!(::std::string::String::from(#name)), version)
            }
        };
        quote!(::flott::plumbing::core::Schema::Foreign { name: #name, version: #version })
    }

    /// The variable that a pattern binds the field to.
    pub(super) fn binding(&self) -> Ident {
        format_ident!("field_{}", self.name())
    }
}

impl Fields {
    pub(super) fn schema(&self, ident: &Ident) -> TokenStream {
        let name = ident.to_string();
        let fields = self.fields.iter().map(|field| {
            let (name, schema) = (field.name(), field.schema());
            quote!((::std::string::String::from(#name), #schema))
        });
        quote! {
            ::flott::plumbing::core::Schema::Struct(::std::string::String::from(#name), ::std::vec![#(#fields),*])
        }
    }

    /// What follows the type's name where a value is made: the fields, each from `value`, in order.
    pub(super) fn constructor(&self, value: impl Fn(&Field) -> TokenStream) -> TokenStream {
        let values = self.fields.iter().map(value);
        match self.fields.first().map(|field| &field.member) {
            None => quote!({}),
            Some(Member::Named(_)) => {
                let members = self.fields.iter().map(|field| &field.member);
                quote!({ #(#members: #values),* })
            }
            Some(Member::Unnamed(_)) => quote!((#(#values),*)),
        }
    }

    /// What follows the variant's name in a pattern.
    pub(super) fn pattern(&self) -> TokenStream {
        self.constructor(|field| {
            let binding = field.binding();
            quote!(#binding)
        })
    }

    /// `false` when some field's size is known to vary.
    pub(super) fn may_be_fixed(&self) -> bool {
        let may_be =
            |field: &Field| field.codec == Codec::Record && !types::is_named(&field.ty, &VARIABLE_SIZE);
        !self.fields.is_empty() && self.fields.iter().all(may_be)
    }
}

impl EventTimeUnit {
    /// `value` as an `EventTime`.
    pub(super) fn converted(self, value: &TokenStream) -> TokenStream {
        let from_millis = quote!(::flott::plumbing::core::EventTime::from_millis);
        match self {
            Self::EventTime => quote!(#value),
            Self::SignedMillis => quote!(#from_millis(#value)),
            Self::UnsignedMillis => quote! {
                #from_millis(<i64 as ::core::convert::TryFrom<u64>>::try_from(#value).unwrap_or(i64::MAX))
            },
        }
    }
}
