//! What is known of an operator's logic.

use proc_macro2::Ident;
use syn::{Generics, Type};

/// The valid logic of an operator.
pub(super) struct Operator {
    pub(super) self_ty: Type,
    pub(super) generics: Generics,
    /// Type of the records.
    pub(super) input: Type,
    /// Type of the records it emits, if a method has an output.
    pub(super) output: Option<Type>,
    /// Type of the keys, if a method takes the key.
    pub(super) key: Option<Type>,
    pub(super) process: Method,
    pub(super) timers: Vec<Method>,
}

/// A method that the engine calls.
pub(super) struct Method {
    pub(super) ident: Ident,
    /// After `self`.
    pub(super) arguments: Vec<Argument>,
    pub(super) returns: Returns,
}

/// What a parameter stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    Record,
    Key,
    Context,
    Output,
}

/// What a method returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returns {
    Nothing,
    /// `Result<()>`.
    Result,
    /// `Result<(), E>`.
    ForeignResult,
}
