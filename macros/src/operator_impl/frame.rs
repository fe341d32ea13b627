//! The implementation of `ProcessFunction`, whatever its methods do.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Generics, Type, parse_quote, spanned::Spanned};

use crate::types;

/// What the implementation is for.
pub(super) struct Frame<'a> {
    pub(super) self_ty: &'a Type,
    pub(super) generics: &'a Generics,
    pub(super) input: &'a Type,
    /// `()` if absent.
    pub(super) output: Option<&'a Type>,
    /// Any key if absent.
    pub(super) key: Option<&'a Type>,
}

impl Frame<'_> {
    /// The implementation with the bodies of its two methods.
    pub(super) fn filled(&self, process: &TokenStream, on_timer: &TokenStream) -> TokenStream {
        let Self { self_ty, input, .. } = self;
        let output = self.output.map_or_else(|| quote!(()), ToTokens::to_token_stream);
        let key = self.key.map_or_else(|| quote!(__Key), ToTokens::to_token_stream);
        let generics = self.bounded();
        let (impl_generics, _, where_clause) = generics.split_for_impl();
        let process_parameters = parameters(&key, &output, process);
        let timer_parameters = parameters(&key, &output, on_timer);
        let (record, timer) = (named_if_used("record", process), named_if_used("timer", on_timer));
        let [process_key, process_context, process_out] = process_parameters;
        let [timer_key, timer_context, timer_out] = timer_parameters;
        let span = self.key.map_or(self_ty.span(), Spanned::span);
        let process_function =
            quote_spanned!(span=> ::flott::plumbing::operators::function::ProcessFunction<#key>);
        quote! {
            #[automatically_derived]
            impl #impl_generics #process_function for #self_ty #where_clause
            {
                type In = #input;
                type Out = #output;

                #[inline]
                fn process(
                    &mut self,
                    #process_key,
                    #record: #input,
                    #process_context,
                    #process_out,
                ) -> ::flott::plumbing::core::Result<()> {
                    #process
                }

                fn on_timer(
                    &mut self,
                    #timer: usize,
                    #timer_key,
                    #timer_context,
                    #timer_out,
                ) -> ::flott::plumbing::core::Result<()> {
                    #on_timer
                }
            }
        }
    }

    /// The impl block's generics, and what only the struct's derive knows: its own bounds.
    fn bounded(&self) -> Generics {
        let mut generics = self.generics.clone();
        if generics.type_params().next().is_some() {
            generics.make_where_clause().predicates.push(parse_quote! {
                Self: ::flott::plumbing::operators::function::OperatorState
            });
        }
        if self.key.is_none() {
            generics.params.push(parse_quote!(__Key: ::flott::plumbing::core::Key));
        }
        generics
    }
}

/// The parameters that both methods have.
fn parameters(key: &TokenStream, output: &TokenStream, body: &TokenStream) -> [TokenStream; 3] {
    let [key_name, context, out] = ["key", "context", "out"].map(|name| named_if_used(name, body));
    [
        quote!(#key_name: &#key),
        quote!(#context: &::flott::plumbing::operators::function::Context),
        quote!(#out: &mut ::flott::plumbing::core::operator::Output<#output>),
    ]
}

/// A parameter's name, led by an underscore where the body is without it.
fn named_if_used(name: &str, body: &TokenStream) -> Ident {
    let ident = format_ident!("{name}");
    if types::mentions(body, &ident) { ident } else { format_ident!("_{name}") }
}
