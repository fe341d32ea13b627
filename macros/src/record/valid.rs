//! From syntax to model. Every mistake is found here.

use syn::{Data, DeriveInput, Generics, Ident, Member, Type, parse_quote, spanned::Spanned};

use super::{
    attr,
    model::{Codec, EventTimeField, EventTimeUnit, Field, Fields, Record, Shape, Variant},
};
use crate::{errors::Errors, types};

/// Reads a record type.
pub(super) fn record(input: &DeriveInput) -> syn::Result<Record> {
    let mut reader = Reader { ident: &input.ident, generics: &input.generics, errors: Errors::default() };
    attr::refuse(&input.attrs, &mut reader.errors);
    for lifetime in input.generics.lifetimes() {
        reader.errors.at(lifetime, "a record owns what it holds: it cannot have lifetimes");
    }
    let shape = reader.shape(&input.data);
    reader.errors.finish()?;
    Ok(Record { ident: input.ident.clone(), generics: bounded(&input.generics, &shape), shape })
}

struct Reader<'a> {
    ident: &'a Ident,
    generics: &'a Generics,
    errors: Errors,
}

impl Reader<'_> {
    fn shape(&mut self, data: &Data) -> Shape {
        match data {
            Data::Struct(data) => Shape::Struct(self.fields(&data.fields)),
            Data::Enum(data) => Shape::Enum(self.variants(data)),
            Data::Union(data) => {
                self.errors.at(data.union_token, "a union cannot be a record; use a struct or an enum");
                Shape::Enum(Vec::new())
            }
        }
    }

    fn variants(&mut self, data: &syn::DataEnum) -> Vec<Variant> {
        if data.variants.is_empty() {
            self.errors.at(self.ident, "an enum without variants has no values, so it cannot be a record");
        }
        let mut variants = Vec::new();
        for variant in &data.variants {
            attr::refuse(&variant.attrs, &mut self.errors);
            let fields = self.fields(&variant.fields);
            variants.push(Variant { ident: variant.ident.clone(), fields });
        }
        variants
    }

    fn fields(&mut self, syntax: &syn::Fields) -> Fields {
        let mut fields = Fields { fields: Vec::new(), event_time: None };
        for (at, (member, field)) in syntax.members().zip(syntax).enumerate() {
            let attributes = attr::field(&field.attrs, &mut self.errors);
            if let Some(path) = attributes.event_time {
                self.event_time(at, &path, &field.ty, &mut fields);
            }
            let version = attributes.version.map_or(1, |(number, _)| number);
            let codec = self.codec(attributes.serde.map(|_| version), &field.ty);
            fields.fields.push(Field { member: located(member, field), ty: field.ty.clone(), codec });
        }
        fields
    }

    fn event_time(&mut self, at: usize, path: &syn::Path, ty: &Type, fields: &mut Fields) {
        if fields.event_time.is_some() {
            self.errors.at(path, "another field is the event time already");
        }
        match unit(ty) {
            Some(unit) => fields.event_time = Some(EventTimeField { at, unit }),
            None => self.errors.at(ty, "an event time is an `EventTime`, or `i64` or `u64` milliseconds"),
        }
    }

    fn codec(&mut self, version: Option<u32>, ty: &Type) -> Codec {
        if let Some(version) = version {
            return Codec::Serde { is_generic: !types::parameters_in(ty, self.generics).is_empty(), version };
        }
        if is_recursive(ty, self.ident) {
            self.errors.at(ty, "a record cannot contain itself: its schema would have no end");
        }
        Codec::Record
    }
}

/// A tuple field's number with the span of the field, so that the compiler's messages point there.
fn located(mut member: Member, field: &syn::Field) -> Member {
    if let Member::Unnamed(index) = &mut member {
        index.span = field.ty.span();
    }
    member
}

fn unit(ty: &Type) -> Option<EventTimeUnit> {
    match types::last_segment(ty)?.ident.to_string().as_str() {
        "EventTime" => Some(EventTimeUnit::EventTime),
        "i64" => Some(EventTimeUnit::SignedMillis),
        "u64" => Some(EventTimeUnit::UnsignedMillis),
        _ => None,
    }
}

fn is_recursive(ty: &Type, ident: &Ident) -> bool {
    let is_self = |ty: &Type| match ty {
        Type::Path(path) if path.path.segments.len() == 1 => {
            types::is_named(ty, &["Self"]) || path.path.segments[0].ident == *ident
        }
        _ => false,
    };
    is_self(ty) || types::type_arguments(ty).into_iter().any(|argument| is_recursive(argument, ident))
}

/// The bounds under which the fields can be encoded.
fn bounded(generics: &Generics, shape: &Shape) -> Generics {
    let fields: Vec<&Field> = match shape {
        Shape::Struct(fields) => fields.fields.iter().collect(),
        Shape::Enum(variants) => variants.iter().flat_map(|variant| &variant.fields.fields).collect(),
    };
    let mut bounded = generics.clone();
    for parameter in bounded.type_params_mut() {
        let is_encoded =
            |field: &&Field| field.codec == Codec::Record && types::mentions(&field.ty, &parameter.ident);
        if fields.iter().any(is_encoded) {
            parameter.bounds.push(parse_quote!(::flott::plumbing::core::Record));
        }
    }
    for field in fields.iter().filter(|field| matches!(field.codec, Codec::Serde { is_generic: true, .. })) {
        let ty = &field.ty;
        bounded.make_where_clause().predicates.push(parse_quote! {
            #ty: ::flott::plumbing::serde::Serialize + ::flott::plumbing::serde::de::DeserializeOwned
                + ::core::clone::Clone + ::core::marker::Send + ::core::marker::Sync + 'static
        });
    }
    bounded
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::ToTokens;

    fn mistakes(input: &DeriveInput) -> Vec<String> {
        let error = record(input).err().expect("the input has mistakes");
        error.into_iter().map(|error| error.to_string()).collect()
    }

    #[test]
    fn all_mistakes_of_all_fields_are_found() {
        let input = parse_quote! {
            #[record(serde)]
            struct Payment<'a> {
                #[record(event_tim)]
                at: i64,
                #[record]
                card: u64,
                #[record(serde, serde, serde = 1)]
                cents: &'a i64,
                #[record(event_time)]
                seconds: u32,
                #[record(version = 2)]
                a: u8,
                #[record(serde, version = 0, version)]
                b: u8,
                #[record(serde, version = 2, version = 3)]
                c: u8,
                next: Option<Box<Payment>>,
            }
        };
        assert_eq!(
            mistakes(&input),
            [
                "`#[record(…)]` describes a field: put it in front of one",
                "a record owns what it holds: it cannot have lifetimes",
                "unknown record attribute `event_tim`; did you mean `event_time`?",
                "say what the field is: `#[record(event_time)]` or `#[record(serde)]`",
                "`serde` is there already",
                "`serde` takes no value",
                "an event time is an `EventTime`, or `i64` or `u64` milliseconds",
                "a version belongs to what serde writes: `#[record(serde, version = 2)]`",
                "a version is a number above zero: `version = 2`",
                "a version is a number above zero: `version = 2`",
                "`version` is there already",
                "a record cannot contain itself: its schema would have no end",
            ]
        );
    }

    #[test]
    fn a_type_that_cannot_be_a_record_is_refused() {
        assert_eq!(
            mistakes(&parse_quote!(
                enum Never {}
            ))
            .len(),
            1
        );
        assert_eq!(mistakes(&parse_quote!(union Bits { a: u32, b: f32 })).len(), 1);
        let two = parse_quote!(
            struct Two(#[record(event_time)] EventTime, #[record(event_time)] EventTime);
        );
        assert_eq!(mistakes(&two), ["another field is the event time already"]);
    }

    #[test]
    fn each_variant_may_have_its_event_time() {
        let input = parse_quote! {
            enum Change {
                Set { #[record(event_time)] at: EventTime },
                Cleared(#[record(event_time)] u64, #[record(serde)] Url),
            }
        };
        assert!(record(&input).is_ok());
    }

    #[test]
    fn type_parameters_are_bounded_by_their_use() {
        let record = record(&parse_quote! {
            struct Pair<A: Ord, B, const N: usize> { left: Vec<A>, #[record(serde)] right: Option<B> }
        });
        let generics = record.expect("it is valid").generics;
        assert_eq!(
            generics.to_token_stream().to_string(),
            "< A : Ord + :: flott :: plumbing :: core :: Record , B , const N : usize >"
        );
        assert_eq!(generics.where_clause.expect("the serde field is bounded").predicates.len(), 1);
    }
}
