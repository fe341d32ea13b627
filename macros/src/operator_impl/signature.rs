//! Reading the signature of one method.

use syn::{FnArg, ImplItemFn, Pat, PatType, ReceiverKind, ReturnType, Type};

use super::model::{Argument, Method, Returns};
use crate::{errors::Errors, types};

/// A method as read, with the types that it names.
pub(super) struct Signature {
    pub(super) method: Method,
    pub(super) record: Option<Type>,
    pub(super) key: Option<Type>,
    pub(super) output: Option<Type>,
}

/// Reads a method; `takes_record` says that the first parameter is the record.
pub(super) fn signature(function: &ImplItemFn, takes_record: bool, errors: &mut Errors) -> Signature {
    let sig = &function.sig;
    if let Some(asyncness) = &sig.asyncness {
        errors.at(asyncness, "an operator never waits: its methods cannot be `async`");
    }
    if !sig.generics.params.is_empty() {
        errors.at(&sig.generics, "the engine calls this method: it cannot be generic");
    }
    let method =
        Method { ident: sig.ident.clone(), arguments: Vec::new(), returns: returns(&sig.output, errors) };
    let mut signature = Signature { method, record: None, key: None, output: None };
    let mut parameters = sig.inputs.iter();
    match parameters.next() {
        Some(FnArg::Receiver(receiver)) if matches!(receiver.kind, ReceiverKind::Reference(..)) => {}
        Some(parameter) => errors.at(parameter, "the engine calls this method with `&mut self`"),
        None => errors.at(&sig.ident, "the engine calls this method with `&mut self`"),
    }
    let mut typed = parameters.filter_map(|parameter| match parameter {
        FnArg::Typed(parameter) => Some(parameter),
        FnArg::Receiver(_) => None,
    });
    if takes_record {
        match typed.next() {
            Some(parameter) => signature.record(parameter, errors),
            None => errors.at(&sig.ident, "`process` takes a record: `fn process(&mut self, record: In, …)`"),
        }
    }
    typed.for_each(|parameter| signature.parameter(parameter, errors));
    signature
}

impl Signature {
    fn record(&mut self, parameter: &PatType, errors: &mut Errors) {
        if argument(parameter).is_some() || matches!(*parameter.ty, Type::Reference(_) | Type::ImplTrait(_)) {
            errors.at(&parameter.ty, "the first parameter is the record, by value");
        }
        self.method.arguments.push(Argument::Record);
        self.record = Some((*parameter.ty).clone());
    }

    fn parameter(&mut self, parameter: &PatType, errors: &mut Errors) {
        let Some((argument, ty)) = argument(parameter) else {
            return errors.at(parameter, explanation(&parameter.ty));
        };
        if self.method.arguments.contains(&argument) {
            return errors.at(parameter, "this method has such a parameter already");
        }
        self.method.arguments.push(argument);
        match argument {
            Argument::Key => self.key = Some(ty.clone()),
            Argument::Output => match types::type_arguments(ty)[..] {
                [output] => self.output = Some(output.clone()),
                _ => errors.at(ty, "say what it emits: `&mut Output<Out>`"),
            },
            Argument::Context | Argument::Record => {}
        }
    }
}

/// What a parameter stands for, and the type behind the reference.
fn argument(parameter: &PatType) -> Option<(Argument, &Type)> {
    let Type::Reference(reference) = &*parameter.ty else { return None };
    let (ty, is_mutable) = (&*reference.elem, reference.mutability.is_some());
    if types::is_named(ty, &["Output"]) && is_mutable {
        Some((Argument::Output, ty))
    } else if types::is_named(ty, &["Context"]) && !is_mutable {
        Some((Argument::Context, ty))
    } else if is_key(&parameter.pat) && !is_mutable {
        Some((Argument::Key, ty))
    } else {
        None
    }
}

fn is_key(pattern: &Pat) -> bool {
    matches!(pattern, Pat::Ident(pattern) if pattern.ident == "key" || pattern.ident == "_key")
}

fn explanation(ty: &Type) -> &'static str {
    let ty = if let Type::Reference(reference) = ty { &*reference.elem } else { ty };
    match types::last_segment(ty).map(|segment| segment.ident.to_string()).as_deref() {
        Some("Output") => "an output is borrowed: `&mut Output<Out>`",
        Some("Context") => "the context is borrowed: `&Context`",
        _ => {
            "the engine does not know this parameter; it can give `key: &Key`, `context: &Context` and `out: &mut Output<Out>`"
        }
    }
}

fn returns(output: &ReturnType, errors: &mut Errors) -> Returns {
    let ReturnType::Type(_, ty) = output else { return Returns::Nothing };
    match result_arguments(ty).as_deref() {
        _ if is_unit(ty) => Returns::Nothing,
        Some([unit]) if is_unit(unit) => Returns::Result,
        Some([unit, _]) if is_unit(unit) => Returns::ForeignResult,
        _ => {
            errors.at(ty, "this method returns `Result<()>` or nothing; what it emits goes to `out`");
            Returns::Nothing
        }
    }
}

/// The type arguments of a `Result`.
fn result_arguments(ty: &Type) -> Option<Vec<&Type>> {
    types::is_named(ty, &["Result"]).then(|| types::type_arguments(ty))
}

fn is_unit(ty: &Type) -> bool {
    matches!(ty, Type::Tuple(tuple) if tuple.elems.is_empty())
}
