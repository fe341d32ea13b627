//! `#[record(…)]`.

use syn::{Attribute, Expr, ExprLit, Lit, Meta, Path, Token, punctuated::Punctuated};

use crate::errors::{Errors, unknown};

/// What stands in a field's `#[record(…)]`, with the token for messages.
#[derive(Default)]
pub(super) struct FieldAttributes {
    pub(super) event_time: Option<Path>,
    pub(super) serde: Option<Path>,
    /// The version of the serde format: its number, and the token.
    pub(super) version: Option<(u32, Path)>,
}

const NAMES: [&str; 3] = ["event_time", "serde", "version"];

/// Reads the attributes of a field.
pub(super) fn field(attributes: &[Attribute], errors: &mut Errors) -> FieldAttributes {
    let mut found = FieldAttributes::default();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("record")) {
        let Meta::List(list) = &attribute.meta else {
            errors.at(attribute, "say what the field is: `#[record(event_time)]` or `#[record(serde)]`");
            continue;
        };
        let metas = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
        for meta in errors.keep(metas).into_iter().flatten() {
            argument(&meta, &mut found, errors);
        }
    }
    if let (None, Some((_, path))) = (&found.serde, &found.version) {
        errors.at(path, "a version belongs to what serde writes: `#[record(serde, version = 2)]`");
    }
    found
}

/// Refuses attributes where they have no meaning.
pub(super) fn refuse(attributes: &[Attribute], errors: &mut Errors) {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("record")) {
        errors.at(attribute, "`#[record(…)]` describes a field: put it in front of one");
    }
}

fn argument(meta: &Meta, found: &mut FieldAttributes, errors: &mut Errors) {
    let path = meta.path();
    let slot = match path.get_ident().map(ToString::to_string).as_deref() {
        Some("event_time") => &mut found.event_time,
        Some("serde") => &mut found.serde,
        Some("version") => return version(meta, found, errors),
        _ => return errors.at(path, unknown("record attribute", &text(path), &NAMES)),
    };
    match meta {
        Meta::Path(_) if slot.is_none() => *slot = Some(path.clone()),
        Meta::Path(_) => errors.at(path, format_args!("`{}` is there already", text(path))),
        _ => errors.at(meta, format_args!("`{}` takes no value", text(path))),
    }
}

fn version(meta: &Meta, found: &mut FieldAttributes, errors: &mut Errors) {
    let number = match meta {
        Meta::NameValue(pair) => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse().ok(),
            _ => None,
        },
        _ => None,
    };
    match number.filter(|number| *number > 0) {
        Some(number) if found.version.is_none() => found.version = Some((number, meta.path().clone())),
        Some(_) => errors.at(meta.path(), "`version` is there already"),
        None => errors.at(meta, "a version is a number above zero: `version = 2`"),
    }
}

fn text(path: &Path) -> String {
    quote::ToTokens::to_token_stream(path).to_string()
}
