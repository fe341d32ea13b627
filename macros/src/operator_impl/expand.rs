//! From model to tokens.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::{Type, spanned::Spanned};

use super::{
    frame::Frame,
    model::{Argument, Method, Operator, Returns},
};
use crate::{names, types};

/// The implementation of `ProcessFunction`, and the check that every timer has its method.
pub(super) fn operator(operator: &Operator) -> TokenStream {
    let frame = Frame {
        self_ty: &operator.self_ty,
        generics: &operator.generics,
        input: &operator.input,
        output: operator.output.as_ref(),
        key: operator.key.as_ref(),
    };
    let (check, timers) = (timer_check(operator), timers(operator));
    if operator.generics.type_params().next().is_some() {
        // Only a method can name the type parameters, so the check waits until the operator is used.
        return frame.filled(&call(&operator.process), &quote!(const { #check } #timers));
    }
    let implementation = frame.filled(&call(&operator.process), &timers);
    quote!(#implementation #[allow(clippy::identity_op)] const _: () = #check;)
}

fn timers(operator: &Operator) -> TokenStream {
    let calls = operator.timers.iter().map(|method| {
        let (number, call) = (timer_number(&operator.self_ty, method), call(method));
        quote! {
            if ::core::option::Option::Some(timer) == const { #number } {
                return #call;
            }
        }
    });
    quote! {
        #(#calls)*
        ::core::panic!("there is no timer number {}", timer)
    }
}

/// Tells the derive which timers have a method.
fn timer_check(operator: &Operator) -> TokenStream {
    let self_ty = &operator.self_ty;
    let check = names::timer_check(self_ty.span());
    let bits = operator.timers.iter().map(|method| timer_bit(self_ty, method));
    quote_spanned!(self_ty.span()=> <#self_ty>::#check(0 #(| #bits)*))
}

/// The bit of the timer that `method` is called for. All of it has the span of the method, for the error that there is
/// no such timer.
fn timer_bit(self_ty: &Type, method: &Method) -> TokenStream {
    let (number, timer, span) = (timer_number(self_ty, method), timer_name(method), method.ident.span());
    let message = format!(
        "method `{}` has no timer: add the field `#[timer] {timer}: EventTimer` or `#[timer] {timer}: ProcessingTimer` to the \
         struct, or move the method to an `impl` block without `#[operator]`",
        method.ident,
    );
    quote_spanned!(span=> 1 << #number.expect(#message))
}

fn timer_number(self_ty: &Type, method: &Method) -> TokenStream {
    let (timer, span) = (timer_name(method), method.ident.span());
    let number = names::timer_number(span);
    let self_ty = types::respanned(self_ty.to_token_stream(), span);
    quote_spanned!(span=> <#self_ty>::#number(#timer))
}

fn timer_name(method: &Method) -> String {
    let name = method.ident.to_string();
    name.strip_prefix(names::TIMER_METHOD_PREFIX).unwrap_or(&name).to_owned()
}

fn call(method: &Method) -> TokenStream {
    let ident = &method.ident;
    let arguments = method.arguments.iter().map(|argument| match argument {
        Argument::Record => quote!(record),
        Argument::Key => quote!(key),
        Argument::Context => quote!(context),
        Argument::Output => quote!(out),
    });
    let call = quote!(Self::#ident(self #(, #arguments)*));
    match method.returns {
        Returns::Result => call,
        Returns::ForeignResult => quote!(#call.map_err(::core::convert::Into::into)),
        Returns::Nothing => quote!(::core::result::Result::Ok(#call)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator_impl::valid;

    #[test]
    fn the_expansion_is_what_one_would_write() {
        let item = syn::parse_quote! {
            impl Pass {
                fn process(&mut self, record: u64, out: &mut Output<u64>) -> Result<()> {}
                fn on_later(&mut self, key: &u64) {}
            }
        };
        let model =
            valid::operator(&TokenStream::new(), &item).unwrap_or_else(|wrong| panic!("{}", wrong.error));
        let message = "method `on_later` has no timer: add the field `#[timer] later: EventTimer` or `#[timer] later: \
                       ProcessingTimer` to the struct, or move the method to an `impl` block without `#[operator]`";
        let expected = quote! {
            #[automatically_derived]
            impl ::flott::plumbing::operators::function::ProcessFunction<u64> for Pass {
                type In = u64;
                type Out = u64;

                #[inline]
                fn process(
                    &mut self,
                    _key: &u64,
                    record: u64,
                    _context: &::flott::plumbing::operators::function::Context,
                    out: &mut ::flott::plumbing::core::operator::Output<u64>,
                ) -> ::flott::plumbing::core::Result<()> {
                    Self::process(self, record, out)
                }

                fn on_timer(
                    &mut self,
                    timer: usize,
                    key: &u64,
                    _context: &::flott::plumbing::operators::function::Context,
                    _out: &mut ::flott::plumbing::core::operator::Output<u64>,
                ) -> ::flott::plumbing::core::Result<()> {
                    if ::core::option::Option::Some(timer) == const { <Pass>::__timer_number("later") } {
                        return ::core::result::Result::Ok(Self::on_later(self, key));
                    }
                    ::core::panic!("there is no timer number {}", timer)
                }
            }
            #[allow(clippy::identity_op)]
            const _: () = <Pass>::__derive_operator(0 | 1 << <Pass>::__timer_number("later").expect(#message));
        };
        assert_eq!(operator(&model).to_string(), expected.to_string());
    }
}
