//! What is known of an operator struct.

use proc_macro2::Ident;
use syn::{Generics, Type, Visibility};

/// A valid operator struct.
pub(super) struct Operator {
    pub(super) ident: Ident,
    pub(super) visibility: Visibility,
    /// As declared.
    pub(super) generics: Generics,
    /// With the bounds that the implementations need.
    pub(super) bounded: Generics,
    pub(super) fields: Vec<Field>,
}

/// A field.
pub(super) struct Field {
    pub(super) ident: Ident,
    pub(super) ty: Type,
    pub(super) role: Role,
}

/// What a field is to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// `#[state]`: `ValueState` or `MapState`.
    State,
    /// `#[timer]`.
    Timer(TimerKind),
    /// `#[side_output]`.
    SideOutput,
    /// No attribute: an argument of `new`.
    Parameter,
}

/// What fires a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerKind {
    EventTime,
    ProcessingTime,
}

impl Operator {
    pub(super) fn parameters(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.role == Role::Parameter)
    }

    /// Fields with a table: states and timers.
    pub(super) fn states(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| matches!(field.role, Role::State | Role::Timer(_)))
    }

    /// Timers; a timer's position is its number.
    pub(super) fn timers(&self) -> impl Iterator<Item = (&Field, TimerKind)> {
        self.fields.iter().filter_map(|field| match field.role {
            Role::Timer(kind) => Some((field, kind)),
            _ => None,
        })
    }

    pub(super) fn side_outputs(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.role == Role::SideOutput)
    }
}

impl Field {
    /// The name of the state, timer or side output.
    pub(super) fn name(&self) -> String {
        syn::ext::IdentExt::unraw(&self.ident).to_string()
    }
}
