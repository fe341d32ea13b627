//! The implementation of `OperatorState`.

use proc_macro2::{Literal, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

use crate::operator_struct::model::{Field, Operator, TimerKind};

pub(super) fn implementation(operator: &Operator) -> TokenStream {
    let Operator { ident, bounded, .. } = operator;
    let (impl_generics, type_generics, where_clause) = bounded.split_for_impl();
    let description = description(operator);
    let (states, side_outputs) = (states(operator), side_outputs(operator));
    quote! {
        #[automatically_derived]
        impl #impl_generics ::flott::plumbing::operators::function::OperatorState
            for #ident #type_generics #where_clause
        {
            #description
            #states
            #side_outputs
        }
    }
}

/// What is known before the job runs.
fn description(operator: &Operator) -> TokenStream {
    let declarations = operator.states().map(|field| {
        let (name, handle) = (field.name(), handle(field));
        quote!(#handle::declaration::<__Key>(#name))
    });
    let timers = operator.timers().map(|(_, kind)| match kind {
        TimerKind::EventTime => quote!(::flott::plumbing::operators::function::TimerKind::EventTime),
        TimerKind::ProcessingTime => {
            quote!(::flott::plumbing::operators::function::TimerKind::ProcessingTime)
        }
    });
    let side_outputs = operator.side_outputs().map(|field| field.name());
    quote! {
        fn declarations<__Key: ::flott::plumbing::core::Key>()
        -> ::std::vec::Vec<::flott::plumbing::core::state::StateDeclaration> {
            ::std::vec![#(#declarations),*]
        }
        fn timers() -> &'static [::flott::plumbing::operators::function::TimerKind] {
            &[#(#timers),*]
        }
        fn side_outputs() -> &'static [&'static str] {
            &[#(#side_outputs),*]
        }
    }
}

/// A state's implementation of `StateHandle`. It has the span of the type, for the error that there is none.
fn handle(field: &Field) -> TokenStream {
    let ty = &field.ty;
    let handle = quote_spanned!(ty.span()=> ::flott::plumbing::core::state::StateHandle);
    quote!(<#ty as #handle>)
}

/// Binding and use of states and timers.
fn states(operator: &Operator) -> TokenStream {
    let idents: Vec<_> = operator.states().map(|field| &field.ident).collect();
    let handles: Vec<_> = operator.states().map(handle).collect();
    let names = operator.states().map(|field| field.name());
    let outputs = operator.side_outputs().map(|field| &field.ident);
    let timers = operator.timers().enumerate().map(|(number, (field, _))| {
        let (number, ident) = (Literal::usize_unsuffixed(number), &field.ident);
        quote!(#number => self.#ident.timers(),)
    });
    quote! {
        #[allow(unused_variables)]
        fn bind<__Key, __Backend>(
            &mut self,
            binder: &mut ::flott::plumbing::core::state::StateBinder<'_, __Backend>,
        ) -> ::flott::plumbing::core::Result<()>
        where
            __Key: ::flott::plumbing::core::Key,
            __Backend: ::flott::plumbing::core::state::StateBackend,
        {
            #(#handles::bind::<__Key, __Backend>(&mut self.#idents, #names, binder)?;)*
            ::core::result::Result::Ok(())
        }
        #[allow(unused_variables)]
        fn visit_states(
            &mut self,
            visitor: &mut dyn ::core::ops::FnMut(&mut dyn ::flott::plumbing::core::state::KeyedState),
        ) {
            #(visitor(#handles::table(&mut self.#idents));)*
        }
        fn timer(&mut self, timer: usize) -> &mut dyn ::flott::plumbing::core::state::TimerTable {
            match timer {
                #(#timers)*
                _ => ::core::panic!("there is no timer number {timer}"),
            }
        }
        #[inline]
        #[allow(unused_variables)]
        fn select(&mut self, at: usize, time: ::flott::plumbing::core::EventTime) {
            #(#handles::select(&mut self.#idents, at);)*
            #(self.#outputs.set_time(time);)*
        }
    }
}

fn side_outputs(operator: &Operator) -> TokenStream {
    let idents: Vec<_> = operator.side_outputs().map(|field| &field.ident).collect();
    let names = operator.side_outputs().map(|field| field.name());
    quote! {
        #[allow(unused_variables)]
        fn bind_side_output(
            &mut self,
            name: &str,
            downstream: ::std::boxed::Box<dyn ::core::any::Any + ::core::marker::Send>,
        ) -> ::flott::plumbing::core::Result<()> {
            match name {
                #(#names => self.#idents.bind(downstream),)*
                _ => ::core::result::Result::Err(::flott::plumbing::core::Error::internal(
                    ::std::format!("there is no side output {name:?}"),
                )),
            }
        }
        #[allow(unused_variables)]
        fn visit_side_outputs(
            &mut self,
            visitor: &mut dyn ::core::ops::FnMut(
                &mut dyn ::flott::plumbing::core::operator::SideLink,
            ) -> ::flott::plumbing::core::Result<()>,
        ) -> ::flott::plumbing::core::Result<()> {
            #(visitor(&mut self.#idents)?;)*
            ::core::result::Result::Ok(())
        }
    }
}
