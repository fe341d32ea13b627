//! Reading types as they are written: a macro sees names, not meanings.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    GenericArgument, Generics, PathArguments, PathSegment, Type, TypePath,
    visit_mut::{self, VisitMut},
};

/// The last segment of a path type, which is how types are recognised.
pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        Type::Group(group) => last_segment(&group.elem),
        Type::Paren(paren) => last_segment(&paren.elem),
        _ => None,
    }
}

/// Whether the last segment of `ty` is one of `names`.
pub(crate) fn is_named(ty: &Type, names: &[&str]) -> bool {
    last_segment(ty).is_some_and(|segment| names.iter().any(|name| segment.ident == name))
}

/// The type arguments in `ty`'s angle brackets.
pub(crate) fn type_arguments(ty: &Type) -> Vec<&Type> {
    let Some(PathArguments::AngleBracketed(arguments)) = last_segment(ty).map(|segment| &segment.arguments)
    else {
        return Vec::new();
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    types.collect()
}

/// Whether `name` occurs anywhere in `tokens`.
pub(crate) fn mentions(tokens: &impl ToTokens, name: &Ident) -> bool {
    fn contains(tokens: TokenStream, name: &Ident) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(ident) => ident == *name,
            TokenTree::Group(group) => contains(group.stream(), name),
            _ => false,
        })
    }
    contains(tokens.to_token_stream(), name)
}

/// The type parameters that occur in `ty`.
pub(crate) fn parameters_in(ty: &Type, generics: &Generics) -> Vec<Ident> {
    let parameters = generics.type_params().map(|parameter| &parameter.ident);
    parameters.filter(|parameter| mentions(ty, parameter)).cloned().collect()
}

/// A type as one would write it, without needless spaces.
pub(crate) fn text(ty: &Type) -> String {
    let spaced = ty.to_token_stream().to_string();
    let mut text = String::with_capacity(spaced.len());
    let mut letters = spaced.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_word =
            |letter: Option<&char>| letter.is_some_and(|letter| letter.is_alphanumeric() || *letter == '_');
        let separates = is_word(text.chars().last().as_ref()) && is_word(letters.peek());
        let follows = matches!(text.chars().last(), Some(',' | ';')) || separates;
        if letter != ' ' || follows {
            text.push(letter);
        }
    }
    text
}

/// A type as one would write it with all names imported: without the paths of modules.
pub(crate) fn short(ty: &Type) -> String {
    struct Shorten;
    impl VisitMut for Shorten {
        fn visit_type_path_mut(&mut self, path: &mut TypePath) {
            // The segments behind `<T as Trait>` are no path of modules.
            if path.qself.is_none()
                && let Some(last) = path.path.segments.pop()
            {
                path.path.leading_colon = None;
                path.path.segments = std::iter::once(last).collect();
            }
            visit_mut::visit_type_path_mut(self, path);
        }
    }
    let mut ty = ty.clone();
    Shorten.visit_type_mut(&mut ty);
    text(&ty)
}

/// The same tokens, all at one place of the user's program.
pub(crate) fn respanned(tokens: TokenStream, span: Span) -> TokenStream {
    let respan = |mut token: TokenTree| {
        if let TokenTree::Group(group) = &mut token {
            *group = Group::new(group.delimiter(), respanned(group.stream(), span));
        }
        token.set_span(span);
        token
    };
    tokens.into_iter().map(respan).collect()
}

/// Whether two types are written alike.
pub(crate) fn is_same(left: &Type, right: &Type) -> bool {
    left.to_token_stream().to_string() == right.to_token_stream().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    #[test]
    fn types_are_read_as_written() {
        let ty: Type = parse_quote!(flott::state::MapState<(u64, T), Vec<u8>>);
        assert!(is_named(&ty, &["ValueState", "MapState"]));
        assert_eq!(text(&ty), "flott::state::MapState<(u64, T), Vec<u8>>");
        assert_eq!(type_arguments(&ty).len(), 2);
        assert_eq!(text(&parse_quote!(Box<dyn Send>)), "Box<dyn Send>");
        assert!(is_same(&parse_quote!(Vec<u8>), &parse_quote!(Vec<u8>)));
    }

    #[test]
    fn a_short_type_has_no_paths() {
        assert_eq!(short(&parse_quote!(chrono::DateTime<::chrono::Utc>)), "DateTime<Utc>");
        assert_eq!(short(&parse_quote!((std::net::IpAddr, [a::B; 2]))), "(IpAddr, [B; 2])");
        assert_eq!(short(&parse_quote!(<a::B as c::D>::E)), text(&parse_quote!(<B as c::D>::E)));
    }

    #[test]
    fn parameters_are_found_at_any_depth() {
        let generics: Generics = parse_quote!(<A, B, const N: usize>);
        assert_eq!(parameters_in(&parse_quote!(Vec<(u8, [B; N])>), &generics), ["B"]);
        assert!(parameters_in(&parse_quote!(Bee), &generics).is_empty());
    }
}
