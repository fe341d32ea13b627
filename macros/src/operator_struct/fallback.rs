//! After a mistake: what the rest of the program expects of the struct, so that the mistake is the one error shown.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, parse_quote};

use super::{attr, model::Role, valid};
use crate::names;

/// The mistakes as errors, and implementations without content.
pub(super) fn operator(input: &DeriveInput, error: &syn::Error) -> TokenStream {
    let (errors, inherent) = (error.to_compile_error(), inherent(input));
    let traits = traits(input);
    quote!(#errors #inherent #traits)
}

fn inherent(input: &DeriveInput) -> TokenStream {
    let (ident, visibility) = (&input.ident, &input.vis);
    let parameters = named_fields(input).filter(|field| is_parameter(field)).map(|field| &field.ty);
    let (number, check) = (names::timer_number(ident.span()), names::timer_check(ident.span()));
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    quote! {
        #[allow(dead_code)]
        impl #impl_generics #ident #type_generics #where_clause {
            #visibility fn new(#(_: #parameters),*) -> Self {
                ::core::unreachable!()
            }
            #visibility const fn #number(_: &str) -> ::core::option::Option<usize> {
                ::core::option::Option::Some(0)
            }
            #visibility const fn #check(_: u64) {}
        }
    }
}

fn traits(input: &DeriveInput) -> TokenStream {
    let ident = &input.ident;
    let mut generics = input.generics.clone();
    if !generics.params.is_empty() {
        let predicates = &mut generics.make_where_clause().predicates;
        predicates.push(parse_quote!(Self: ::core::marker::Send + 'static));
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let core = quote!(::flott::plumbing::core);
    let function = quote!(::flott::plumbing::operators::function);
    quote! {
        impl #impl_generics ::core::clone::Clone for #ident #type_generics #where_clause {
            fn clone(&self) -> Self {
                ::core::unreachable!()
            }
        }

        impl #impl_generics #function::OperatorState for #ident #type_generics #where_clause {
            fn declarations<__Key: #core::Key>() -> ::std::vec::Vec<#core::state::StateDeclaration> {
                ::core::unreachable!()
            }
            fn timers() -> &'static [#function::TimerKind] {
                ::core::unreachable!()
            }
            fn side_outputs() -> &'static [&'static str] {
                ::core::unreachable!()
            }
            fn bind<__Key: #core::Key, __Backend: #core::state::StateBackend>(
                &mut self,
                _: &mut #core::state::StateBinder<'_, __Backend>,
            ) -> #core::Result<()> {
                ::core::unreachable!()
            }
            fn visit_states(&mut self, _: &mut dyn ::core::ops::FnMut(&mut dyn #core::state::KeyedState)) {}
            fn timer(&mut self, _: usize) -> &mut dyn #core::state::TimerTable {
                ::core::unreachable!()
            }
            fn select(&mut self, _: usize, _: #core::EventTime) {}
            fn bind_side_output(
                &mut self,
                _: &str,
                _: ::std::boxed::Box<dyn ::core::any::Any + ::core::marker::Send>,
            ) -> #core::Result<()> {
                ::core::unreachable!()
            }
            fn visit_side_outputs(
                &mut self,
                _: &mut dyn ::core::ops::FnMut(&mut dyn #core::operator::SideLink) -> #core::Result<()>,
            ) -> #core::Result<()> {
                ::core::unreachable!()
            }
        }
    }
}

/// A field with an attribute and the wrong type was not meant to be a parameter.
fn is_parameter(field: &syn::Field) -> bool {
    field.ident.is_some() && valid::role_of(&field.ty) == Role::Parameter && !attr::is_marked(&field.attrs)
}

fn named_fields(input: &DeriveInput) -> impl Iterator<Item = &syn::Field> {
    let fields = match &input.data {
        Data::Struct(data) => Some(data.fields.iter()),
        Data::Enum(_) | Data::Union(_) => None,
    };
    fields.into_iter().flatten()
}
