//! `#[record(…)]`.

use syn::{Attribute, Meta, Path, Token, punctuated::Punctuated};

use crate::errors::{Errors, unknown};

/// What stands in a field's `#[record(…)]`, with the token for messages.
#[derive(Default)]
pub(super) struct FieldAttributes {
    pub(super) event_time: Option<Path>,
    pub(super) serde: Option<Path>,
}

const NAMES: [&str; 2] = ["event_time", "serde"];

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
        _ => return errors.at(path, unknown("record attribute", &text(path), &NAMES)),
    };
    match meta {
        Meta::Path(_) if slot.is_none() => *slot = Some(path.clone()),
        Meta::Path(_) => errors.at(path, format_args!("`{}` is there already", text(path))),
        _ => errors.at(meta, format_args!("`{}` takes no value", text(path))),
    }
}

fn text(path: &Path) -> String {
    quote::ToTokens::to_token_stream(path).to_string()
}
