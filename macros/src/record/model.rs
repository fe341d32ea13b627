//! What is known of a record type.

use proc_macro2::Ident;
use syn::{Generics, Member, Type};

/// A valid record type.
pub(super) struct Record {
    pub(super) ident: Ident,
    /// With the bounds that the implementation needs.
    pub(super) generics: Generics,
    pub(super) shape: Shape,
}

/// Struct or enum.
pub(super) enum Shape {
    Struct(Fields),
    Enum(Vec<Variant>),
}

/// A variant; its position is its number.
pub(super) struct Variant {
    pub(super) ident: Ident,
    pub(super) fields: Fields,
}

/// The fields of a struct or variant.
pub(super) struct Fields {
    pub(super) fields: Vec<Field>,
    pub(super) event_time: Option<EventTimeField>,
}

/// A field.
pub(super) struct Field {
    pub(super) member: Member,
    pub(super) ty: Type,
    pub(super) codec: Codec,
}

/// How a field is encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    /// Its type is a record.
    Record,
    /// Through serde.
    Serde {
        /// Whether its type depends on the record's type parameters.
        is_generic: bool,
        /// The version of what it writes.
        version: u32,
    },
}

/// The field that says when it happened.
#[derive(Clone, Copy)]
pub(super) struct EventTimeField {
    /// Position in [`Fields::fields`].
    pub(super) at: usize,
    pub(super) unit: EventTimeUnit,
}

/// What its type is.
#[derive(Clone, Copy)]
pub(super) enum EventTimeUnit {
    /// `EventTime`.
    EventTime,
    /// `i64`, in milliseconds.
    SignedMillis,
    /// `u64`, in milliseconds.
    UnsignedMillis,
}

impl Field {
    /// The field's name in the schema.
    pub(super) fn name(&self) -> String {
        match &self.member {
            Member::Named(ident) => syn::ext::IdentExt::unraw(ident).to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        }
    }
}
