//! All that is derived.

use proc_macro2::TokenStream;
use quote::quote;

use super::{inherent, operator_state};
use crate::operator_struct::model::Operator;

/// Constructor, `Clone` and `OperatorState`.
pub(in crate::operator_struct) fn operator(operator: &Operator) -> TokenStream {
    let (inherent, clone) = (inherent::items(operator), inherent::clone(operator));
    let state = operator_state::implementation(operator);
    quote!(#inherent #clone #state)
}
