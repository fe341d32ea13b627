//! Procedural macros of Flott: Record, Operator, operator and main.
//!
//! One folder per macro, the same files in each: `model` is what the macro has understood, `attr` and `valid` turn
//! syntax into it and find every mistake of the user, `expand` turns it into tokens and cannot fail, `fallback` keeps
//! the rest of the program compiling after a mistake. Expansions name `::flott::plumbing` and `::core`, `::std` only.
#![forbid(unsafe_code)]

mod errors;
mod main_fn;
mod names;
mod operator_impl;
mod operator_struct;
mod record;
mod types;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Makes a struct or enum a record: something that can flow between operators and rest in state.
///
/// Fields must be records themselves. On a field:
/// - `#[record(event_time)]`: when it happened; of type `EventTime`, or `i64` or `u64` milliseconds since the epoch.
/// - `#[record(serde)]`: a type of another crate, encoded through serde; it must be `Clone`.
///
/// ```ignore
/// #[derive(Record)]
/// struct Payment {
///     card: u64,
///     #[record(serde)]
///     amount: rust_decimal::Decimal,
///     #[record(event_time)]
///     at: EventTime,
/// }
/// ```
#[proc_macro_derive(Record, attributes(record))]
pub fn derive_record(input: TokenStream) -> TokenStream {
    record::derive(&parse_macro_input!(input)).into()
}

/// Declares the parts of an operator: `#[state]`, `#[timer]` and `#[side_output]` fields; the other fields are its
/// parameters, in the order in which the generated `new` takes them.
///
/// ```ignore
/// #[derive(Operator)]
/// struct SmallThenLarge {
///     #[state]
///     armed: ValueState<bool>,
///     #[timer]
///     disarm: EventTimer,
///     #[side_output]
///     refused: SideOutput<Payment>,
///     large_cents: i64,
/// }
/// ```
///
/// What the operator does follows in an `impl` block under `#[operator]`. The struct becomes `Clone`: each subtask
/// gets a copy of the parameters with states of its own.
#[proc_macro_derive(Operator, attributes(state, timer, side_output))]
pub fn derive_operator(input: TokenStream) -> TokenStream {
    operator_struct::derive(&parse_macro_input!(input)).into()
}

/// Makes the methods of an `impl` block the logic of an operator: `process` sees every record, `on_<timer>` is called
/// when the timer of that name fires.
///
/// ```ignore
/// #[operator]
/// impl SmallThenLarge {
///     fn process(&mut self, payment: Payment, out: &mut Output<Alert>) -> Result<()> { … }
///     fn on_disarm(&mut self, key: &u64, context: &Context) { … }
/// }
/// ```
///
/// After the record, a method takes any of `key: &Key`, `context: &Context` and `out: &mut Output<T>`, in any order.
/// It returns `Result<()>` or nothing. An operator whose methods take no key works on keys of every type.
#[proc_macro_attribute]
pub fn operator(arguments: TokenStream, item: TokenStream) -> TokenStream {
    operator_impl::attribute(&arguments.into(), parse_macro_input!(item)).into()
}

/// Makes a function that declares a job the entry point of the job's binary.
///
/// ```ignore
/// /// Finds stolen cards.
/// #[flott::main]
/// fn main(job: &mut Job, params: Params) -> Result<()> { … }
/// ```
///
/// `Params` is a `clap::Args` struct with serde's derives; it can be left out. The doc comment is what `--help` says
/// about the job.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    main_fn::attribute(&arguments.into(), &parse_macro_input!(item)).into()
}
