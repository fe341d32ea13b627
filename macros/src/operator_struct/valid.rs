//! From syntax to model. Every mistake is found here.

use syn::{Data, DeriveInput, Generics, Type, parse_quote};

use super::{
    attr::{self, Mark},
    model::{Field, Operator, Role, TimerKind},
};
use crate::{errors::Errors, types};

/// Reads an operator struct.
pub(super) fn operator(input: &DeriveInput) -> syn::Result<Operator> {
    let mut errors = Errors::default();
    attr::refuse(&input.attrs, &mut errors);
    for lifetime in input.generics.lifetimes() {
        errors.at(lifetime, "an operator owns what it holds: it cannot have lifetimes");
    }
    let fields = fields(input, &mut errors);
    errors.finish()?;
    Ok(Operator {
        ident: input.ident.clone(),
        visibility: input.vis.clone(),
        generics: input.generics.clone(),
        bounded: bounded(&input.generics, &fields),
        fields,
    })
}

fn fields(input: &DeriveInput, errors: &mut Errors) -> Vec<Field> {
    const SHAPE: &str = "an operator is a struct with named fields: they name its states";
    match &input.data {
        Data::Struct(data) if matches!(data.fields, syn::Fields::Unnamed(_)) => {
            errors.at(&data.fields, SHAPE)
        }
        Data::Struct(data) => return data.fields.iter().filter_map(|syntax| field(syntax, errors)).collect(),
        Data::Enum(data) => errors.at(data.enum_token, SHAPE),
        Data::Union(data) => errors.at(data.union_token, SHAPE),
    }
    Vec::new()
}

fn field(syntax: &syn::Field, errors: &mut Errors) -> Option<Field> {
    let (mark, role) = (attr::field(&syntax.attrs, errors), role_of(&syntax.ty));
    match (mark, mark_of(role)) {
        (None, Some(needed)) => {
            errors.at(&syntax.ty, format_args!("not declared yet: put `{needed}` in front of this field"));
        }
        (Some(mark), None) => errors.at(&syntax.ty, format_args!("`{mark}` needs {}", mark.types())),
        (Some(mark), Some(needed)) if mark != needed => {
            errors.at(&syntax.ty, format_args!("`{mark}` needs {}; this is `{needed}`", mark.types()));
        }
        _ => {}
    }
    Some(Field { ident: syntax.ident.clone()?, ty: syntax.ty.clone(), role })
}

fn mark_of(role: Role) -> Option<Mark> {
    match role {
        Role::State => Some(Mark::State),
        Role::Timer(_) => Some(Mark::Timer),
        Role::SideOutput => Some(Mark::SideOutput),
        Role::Parameter => None,
    }
}

/// What a field of type `ty` is.
pub(super) fn role_of(ty: &Type) -> Role {
    let name = types::last_segment(ty).map(|segment| segment.ident.to_string());
    match name.as_deref() {
        Some("ValueState" | "MapState") => Role::State,
        Some("EventTimer") => Role::Timer(TimerKind::EventTime),
        Some("ProcessingTimer") => Role::Timer(TimerKind::ProcessingTime),
        Some("SideOutput") => Role::SideOutput,
        _ => Role::Parameter,
    }
}

/// The bounds under which states can be bound and parameters copied to each subtask. Only types that depend on a type
/// parameter get any: for the others the compiler's own message is at the field.
fn bounded(generics: &Generics, fields: &[Field]) -> Generics {
    let mut bounded = generics.clone();
    let is_generic = |ty: &Type| !types::parameters_in(ty, generics).is_empty();
    for field in fields.iter().filter(|field| is_generic(&field.ty)) {
        let ty = &field.ty;
        let predicates = &mut bounded.make_where_clause().predicates;
        if field.role == Role::Parameter {
            predicates.push(parse_quote!(#ty: ::core::clone::Clone + ::core::marker::Send + 'static));
            continue;
        }
        let arguments = types::type_arguments(ty);
        for argument in arguments.iter().filter(|argument| is_generic(argument)) {
            predicates.push(parse_quote!(#argument: ::flott::plumbing::core::Record));
        }
        if let [map_key, _] = arguments[..] {
            predicates.push(parse_quote!(#map_key: ::core::cmp::Ord));
        }
    }
    bounded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(input: &DeriveInput) -> Vec<String> {
        let error = operator(input).err().expect("the input has mistakes");
        error.into_iter().map(|error| error.to_string()).collect()
    }

    #[test]
    fn roles_follow_from_attribute_and_type() {
        let operator = operator(&parse_quote! {
            struct Everything {
                #[state] sums: flott::MapState<u64, i64>,
                #[timer] soon: EventTimer,
                #[timer] later: ProcessingTimer,
                #[side_output] late: SideOutput<u64>,
                limit: u64,
            }
        });
        let operator = operator.expect("it is valid");
        let roles: Vec<_> = operator.fields.iter().map(|field| field.role).collect();
        let timers = [Role::Timer(TimerKind::EventTime), Role::Timer(TimerKind::ProcessingTime)];
        assert_eq!(roles, [Role::State, timers[0], timers[1], Role::SideOutput, Role::Parameter]);
    }

    #[test]
    fn attribute_and_type_must_agree() {
        let input = parse_quote! {
            #[timer]
            struct Everything<'a> {
                sums: MapState<u64, i64>,
                #[timer] soon: Option<EventTimer>,
                #[state] later: ProcessingTimer,
                #[side_output] #[state] late: SideOutput<u64>,
                #[state(ttl)] count: ValueState<u64>,
            }
        };
        assert_eq!(
            mistakes(&input),
            [
                "`#[timer]` describes a field: put it in front of one",
                "an operator owns what it holds: it cannot have lifetimes",
                "not declared yet: put `#[state]` in front of this field",
                "`#[timer]` needs `EventTimer` or `ProcessingTimer`",
                "`#[state]` needs `ValueState` or `MapState`; this is `#[timer]`",
                "a field has one role: this one is `#[side_output]` already",
                "`#[state]` takes no arguments",
            ]
        );
    }

    #[test]
    fn only_structs_with_named_fields_are_operators() {
        assert_eq!(
            mistakes(&parse_quote!(
                enum Either {
                    Left,
                    Right,
                }
            ))
            .len(),
            1
        );
        assert_eq!(
            mistakes(&parse_quote!(
                struct Limit(u64);
            ))
            .len(),
            1
        );
        assert!(
            operator(&parse_quote!(
                struct Pass;
            ))
            .is_ok()
        );
    }
}
