//! Enums: the variant's number, then its fields.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::quote;

use super::record::Bodies;
use crate::record::model::{Field, Variant};

/// As many variants as a `u8` can number.
const SMALL_ENUM_VARIANTS_MAX: usize = 256;

pub(super) fn bodies(ident: &Ident, variants: &[Variant]) -> Bodies {
    let number = Number::of(variants);
    let is_plain = variants.iter().all(|variant| variant.fields.fields.is_empty());
    Bodies {
        fixed_size: number.fixed_size(is_plain),
        schema: schema(ident, variants),
        encode: encode(&number, variants),
        decode: decode(ident, &number, variants),
        duplicate: duplicate(variants),
        fixed: is_plain.then(|| (encode_fixed(&number, variants), decode_fixed())),
        event_time: event_time(variants),
        hashes: None,
        check_foreign: check_foreign(variants),
    }
}

/// The type that numbers the variants.
struct Number(TokenStream);

impl Number {
    fn of(variants: &[Variant]) -> Self {
        Self(if variants.len() <= SMALL_ENUM_VARIANTS_MAX { quote!(u8) } else { quote!(u16) })
    }

    fn function(&self, name: &str) -> TokenStream {
        let (ty, name) = (&self.0, quote::format_ident!("{name}"));
        quote!(<#ty as ::flott::plumbing::core::Record>::#name)
    }

    fn fixed_size(&self, is_plain: bool) -> TokenStream {
        let ty = &self.0;
        if is_plain {
            quote!(<#ty as ::flott::plumbing::core::Record>::FIXED_SIZE)
        } else {
            quote!(::core::option::Option::None)
        }
    }
}

fn numbered(variants: &[Variant]) -> impl Iterator<Item = (Literal, &Variant)> {
    variants.iter().enumerate().map(|(number, variant)| (Literal::usize_unsuffixed(number), variant))
}

fn schema(ident: &Ident, variants: &[Variant]) -> TokenStream {
    let name = ident.to_string();
    let variants = variants.iter().map(|Variant { ident, fields }| {
        let (name, schema) = (ident.to_string(), fields.schema(ident));
        quote!((::std::string::String::from(#name), #schema))
    });
    quote! {
        ::flott::plumbing::core::Schema::Enum(::std::string::String::from(#name), ::std::vec![#(#variants),*])
    }
}

fn encode(number: &Number, variants: &[Variant]) -> TokenStream {
    let encode = number.function("encode");
    let arms = numbered(variants).map(|(number, Variant { ident, fields })| {
        let pattern = fields.pattern();
        let content = fields.fields.iter().map(|field| {
            let binding = field.binding();
            field.encode(&quote!(#binding))
        });
        quote! {
            Self::#ident #pattern => {
                #encode(&#number, out);
                #(#content;)*
            }
        }
    });
    quote!(match self { #(#arms)* })
}

fn decode(ident: &Ident, number: &Number, variants: &[Variant]) -> TokenStream {
    let decode = number.function("decode");
    let arms = numbered(variants).map(|(number, Variant { ident, fields })| {
        let constructor = fields.constructor(Field::decode);
        quote!(#number => Self::#ident #constructor,)
    });
    let unknown = format!("`{ident}` has no variant of that number");
    quote! {
        ::core::result::Result::Ok(match #decode(input)? {
            #(#arms)*
            _ => return ::core::result::Result::Err(::flott::plumbing::core::DecodeError::Invalid(#unknown)),
        })
    }
}

fn duplicate(variants: &[Variant]) -> TokenStream {
    let arms = variants.iter().map(|Variant { ident, fields }| {
        let pattern = fields.pattern();
        let constructor = fields.constructor(|field| {
            let binding = field.binding();
            field.duplicate(&quote!(#binding))
        });
        quote!(Self::#ident #pattern => Self::#ident #constructor,)
    });
    quote!(match self { #(#arms)* })
}

fn check_foreign(variants: &[Variant]) -> TokenStream {
    let filled = variants.iter().filter(|variant| !variant.fields.fields.is_empty());
    let arms: Vec<_> = filled
        .map(|Variant { ident, fields }| {
            let pattern = fields.pattern();
            let checks = fields.fields.iter().map(|field| {
                let binding = field.binding();
                field.check_foreign(&quote!(#binding))
            });
            quote!(Self::#ident #pattern => { #(#checks;)* })
        })
        .collect();
    match arms.len() {
        0 => TokenStream::new(),
        filled if filled == variants.len() => quote!(match self { #(#arms)* }),
        _ => quote!(match self { #(#arms)* _ => {} }),
    }
}

fn encode_fixed(number: &Number, variants: &[Variant]) -> TokenStream {
    let encode_fixed = number.function("encode_fixed");
    let arms = numbered(variants).map(|(number, Variant { ident, fields })| {
        let pattern = fields.pattern();
        quote!(Self::#ident #pattern => #number,)
    });
    quote! {
        let number = match self { #(#arms)* };
        #encode_fixed(&number, out);
    }
}

fn decode_fixed() -> TokenStream {
    quote! {
        let mut input = input;
        <Self as ::flott::plumbing::core::Record>::decode(&mut input)
    }
}

fn event_time(variants: &[Variant]) -> Option<TokenStream> {
    variants.iter().find(|variant| variant.fields.event_time.is_some())?;
    let arms = variants.iter().map(|Variant { ident, fields }| match fields.event_time {
        Some(time) => {
            let field = &fields.fields[time.at];
            let (member, binding) = (&field.member, field.binding());
            let time = time.unit.converted(&quote!(*#binding));
            quote!(Self::#ident { #member: #binding, .. } => ::core::option::Option::Some(#time),)
        }
        None => quote!(Self::#ident { .. } => ::core::option::Option::None,),
    });
    Some(quote!(match self { #(#arms)* }))
}
