//! The user's mistakes: collected, so that all are shown at once.

use std::fmt::Display;

use proc_macro2::TokenStream;
use quote::ToTokens;

/// The mistakes found so far.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    /// Adds a mistake at `tokens`.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.add(syn::Error::new_spanned(tokens, message));
    }

    /// Adds a mistake.
    pub(crate) fn add(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// Adds the mistake of a failed step.
    pub(crate) fn keep<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    /// Refuses arguments in the brackets of an attribute that has none.
    pub(crate) fn no_arguments(&mut self, attribute: &str, arguments: &TokenStream) {
        if !arguments.is_empty() {
            self.at(arguments, format_args!("`#[{attribute}]` takes no arguments"));
        }
    }

    /// All mistakes, if there are any.
    pub(crate) fn finish(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// Says that `name` is none of the `known` names, and which one it might have been.
pub(crate) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("unknown {what} `{name}`; did you mean `{near}`?"),
        None => format!("unknown {what} `{name}`; there is {}", list(known)),
    }
}

fn list(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(" and ")
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let close_enough = |near: &&str| distance(name, near) <= near.len().div_ceil(3);
    known.iter().copied().filter(close_enough).min_by_key(|near| distance(name, near))
}

/// Number of letters to insert, remove or replace.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_if_it_is_near() {
        let known = ["event_time", "serde"];
        assert_eq!(
            unknown("word", "event_tim", &known),
            "unknown word `event_tim`; did you mean `event_time`?"
        );
        assert_eq!(unknown("word", "serd", &known), "unknown word `serd`; did you mean `serde`?");
        assert_eq!(unknown("word", "key", &known), "unknown word `key`; there is `event_time` and `serde`");
    }

    #[test]
    fn all_mistakes_are_kept() {
        let mut errors = Errors::default();
        errors.at(quote::quote!(a), "first");
        errors.at(quote::quote!(b), "second");
        let messages: Vec<_> =
            errors.finish().unwrap_err().into_iter().map(|error| error.to_string()).collect();
        assert_eq!(messages, ["first", "second"]);
    }
}
