//! From syntax to model. Every mistake is found here.

use proc_macro2::TokenStream;
use syn::{Attribute, Expr, ExprLit, FnArg, ItemFn, Lit, Meta, ReturnType, Safety, Signature, Type};

use super::model::Main;
use crate::{errors::Errors, types};

const SIGNATURE: &str = "`fn main(job: &mut Job, params: Params) -> Result<()>`";

/// Reads a job's entry point.
pub(super) fn main(arguments: &TokenStream, function: &ItemFn) -> syn::Result<Main> {
    let mut errors = Errors::default();
    errors.no_arguments("flott::main", arguments);
    qualifiers(&function.sig, &mut errors);
    let params = parameters(&function.sig, &mut errors);
    returns(&function.sig, &mut errors);
    errors.finish()?;
    Ok(Main { params, about: about(&function.attrs) })
}

fn qualifiers(sig: &Signature, errors: &mut Errors) {
    if sig.ident != "main" {
        errors.at(&sig.ident, "`#[flott::main]` belongs on the function `main`");
    }
    if let Some(asyncness) = &sig.asyncness {
        errors.at(asyncness, "`main` only declares the job and waits for nothing: it cannot be `async`");
    }
    if let Some(constness) = &sig.constness {
        errors.at(constness, "`main` cannot be `const`");
    }
    if !matches!(sig.safety, Safety::Default) {
        errors.at(&sig.safety, "`main` cannot be `unsafe`");
    }
    if !sig.generics.params.is_empty() {
        errors.at(&sig.generics, "`main` cannot be generic");
    }
}

fn parameters(sig: &Signature, errors: &mut Errors) -> Option<Type> {
    let types: Vec<_> = sig.inputs.iter().map(|input| (input, argument_type(input))).collect();
    match types[..] {
        [(_, Some(job))] if is_job(job) => return None,
        [(_, Some(job)), (_, Some(params))] if is_job(job) => match params {
            Type::Reference(_) => errors.at(params, "`main` takes the parameters by value"),
            _ => return Some(params.clone()),
        },
        [] => errors.at(&sig.ident, format_args!("`main` gets the job: {SIGNATURE}")),
        [_, _, (extra, _), ..] => {
            errors.at(extra, format_args!("`main` takes the job and its parameters: {SIGNATURE}"))
        }
        [(job, _), ..] => errors.at(job, "the first parameter is the job: `job: &mut Job`"),
    }
    None
}

fn argument_type(input: &FnArg) -> Option<&Type> {
    match input {
        FnArg::Typed(argument) => Some(&argument.ty),
        FnArg::Receiver(_) => None,
    }
}

fn is_job(ty: &Type) -> bool {
    matches!(ty, Type::Reference(reference) if reference.mutability.is_some() && types::is_named(&reference.elem, &["Job"]))
}

fn returns(sig: &Signature, errors: &mut Errors) {
    match &sig.output {
        ReturnType::Default => {
            errors.at(&sig.ident, format_args!("`main` returns `Result<()>`: {SIGNATURE}"))
        }
        ReturnType::Type(_, ty) if types::is_named(ty, &["Result"]) => {}
        ReturnType::Type(_, ty) => errors.at(ty, "`main` returns `Result<()>`"),
    }
}

/// The doc comment, without the space that follows the slashes.
fn about(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    let lines: Vec<_> =
        lines.map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn valid(function: &ItemFn) -> Main {
        main(&TokenStream::new(), function).expect("it is valid")
    }

    fn mistakes(function: &ItemFn) -> Vec<String> {
        let error = main(&TokenStream::new(), function).err().expect("the input has mistakes");
        error.into_iter().map(|error| error.to_string()).collect()
    }

    #[test]
    fn parameters_may_be_left_out() {
        assert!(
            valid(&parse_quote!(
                fn main(job: &mut Job) -> Result<()> {}
            ))
            .params
            .is_none()
        );
        let with = valid(&parse_quote!(
            fn main(job: &mut flott::Job, Params { n }: Params) -> flott::Result<()> {}
        ));
        assert_eq!(with.params.map(|ty| types::text(&ty)).as_deref(), Some("Params"));
    }

    #[test]
    fn the_doc_comment_is_what_the_job_is_about() {
        let function = parse_quote! {
            /// Finds stolen cards.
            ///
            ///   - indented
            fn main(job: &mut Job) -> Result<()> {}
        };
        assert_eq!(valid(&function).about, "Finds stolen cards.\n\n  - indented");
    }

    #[test]
    fn all_mistakes_of_the_signature_are_found() {
        let function = parse_quote!(
            async fn start<T>(job: Job, params: Params) -> u8 {}
        );
        assert_eq!(
            mistakes(&function),
            [
                "`#[flott::main]` belongs on the function `main`",
                "`main` only declares the job and waits for nothing: it cannot be `async`",
                "`main` cannot be generic",
                "the first parameter is the job: `job: &mut Job`",
                "`main` returns `Result<()>`",
            ]
        );
        assert_eq!(
            mistakes(&parse_quote!(
                const unsafe fn main() {}
            ))
            .len(),
            4
        );
        assert_eq!(
            mistakes(&parse_quote!(
                fn main(job: &mut Job, a: A, b: B) -> Result<()> {}
            ))
            .len(),
            1
        );
        assert_eq!(
            mistakes(&parse_quote!(
                fn main(job: &mut Job, a: &A) -> Result<()> {}
            ))
            .len(),
            1
        );
        assert!(
            main(
                &quote::quote!(x),
                &parse_quote!(
                    fn main(job: &mut Job) -> Result<()> {}
                )
            )
            .is_err()
        );
    }
}
