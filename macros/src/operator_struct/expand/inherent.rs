//! The constructor, the copy for each subtask, and what `#[operator]` refers to.

use proc_macro2::{Literal, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

use crate::{
    names,
    operator_struct::model::{Field, Operator, Role},
};

/// `new`, the numbers of the timers, and the check that each timer has its method.
pub(super) fn items(operator: &Operator) -> TokenStream {
    let Operator { ident, generics, .. } = operator;
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let (constructor, number, check) = (constructor(operator), timer_number(operator), timer_check(operator));
    quote! {
        #constructor

        #[automatically_derived]
        impl #impl_generics #ident #type_generics #where_clause {
            #number
            #check
        }
    }
}

fn constructor(operator: &Operator) -> TokenStream {
    let Operator { ident, visibility, bounded, .. } = operator;
    let (impl_generics, type_generics, where_clause) = bounded.split_for_impl();
    let idents = operator.parameters().map(|field| &field.ident);
    let types = operator.parameters().map(|field| &field.ty);
    let fields = fields(operator, |parameter| {
        let ident = &parameter.ident;
        quote!(#ident)
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics #ident #type_generics #where_clause {
            /// Makes the operator from its parameters. States, timers and side outputs are bound when it opens.
            #[must_use]
            #[allow(dead_code, clippy::new_without_default, clippy::too_many_arguments)]
            #visibility fn new(#(#idents: #types),*) -> Self {
                Self { #(#fields),* }
            }
        }
    }
}

fn timer_number(operator: &Operator) -> TokenStream {
    let (name, visibility) = (names::timer_number(operator.ident.span()), &operator.visibility);
    let numbers = operator.timers().enumerate().map(|(number, (field, _))| {
        // A constant function can match bytes, not yet strings.
        let timer = Literal::byte_string(field.name().as_bytes());
        let number = Literal::usize_unsuffixed(number);
        quote!(#timer => ::core::option::Option::Some(#number),)
    });
    quote! {
        #[doc(hidden)]
        #[allow(dead_code, clippy::match_single_binding)]
        #visibility const fn #name(timer: &str) -> ::core::option::Option<usize> {
            match timer.as_bytes() {
                #(#numbers)*
                _ => ::core::option::Option::None,
            }
        }
    }
}

fn timer_check(operator: &Operator) -> TokenStream {
    let (name, visibility) = (names::timer_check(operator.ident.span()), &operator.visibility);
    let checks = operator.timers().enumerate().map(|(number, (field, _))| {
        let (number, timer) = (Literal::usize_unsuffixed(number), field.name());
        let message = format!(
            "timer `{timer}` has no method: write `fn {}{timer}(&mut self)` in the `#[operator]` impl",
            names::TIMER_METHOD_PREFIX,
        );
        quote!(::core::assert!(timers_with_method & (1 << #number) != 0, #message);)
    });
    quote! {
        #[doc(hidden)]
        #[track_caller]
        #[allow(dead_code, unused_variables)]
        #visibility const fn #name(timers_with_method: u64) {
            #(#checks)*
        }
    }
}

/// `Clone`: the parameters, with states of its own.
pub(super) fn clone(operator: &Operator) -> TokenStream {
    let Operator { ident, bounded, .. } = operator;
    let (impl_generics, type_generics, where_clause) = bounded.split_for_impl();
    let fields = fields(operator, |Field { ident, ty, .. }| {
        let clone = quote_spanned!(ty.span()=> ::core::clone::Clone);
        quote!(#ident: <#ty as #clone>::clone(&self.#ident))
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics ::core::clone::Clone for #ident #type_generics #where_clause {
            fn clone(&self) -> Self {
                Self { #(#fields),* }
            }
        }
    }
}

/// The fields of a new value: parameters as given, everything else unbound.
fn fields(operator: &Operator, parameter: impl Fn(&Field) -> TokenStream) -> Vec<TokenStream> {
    let field = |field: &Field| match field.role {
        Role::Parameter => parameter(field),
        _ => unbound(field),
    };
    operator.fields.iter().map(field).collect()
}

fn unbound(Field { ident, ty, .. }: &Field) -> TokenStream {
    let default = quote_spanned!(ty.span()=> ::core::default::Default);
    quote!(#ident: <#ty as #default>::default())
}
