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
/// - `#[record(serde)]`: a type of another crate, encoded through serde; it must be `Clone`. Its fields are written with
///   their names, so that a later version of the type can reorder, remove and add some (with `#[serde(default)]`). A type
///   that cannot read back what it writes fails the job before the first checkpoint is complete.
/// - `#[record(serde, version = 2)]`: says that what the type writes means something else than before: state that an
///   earlier version wrote is refused instead of misread. State knows a foreign type by its name without the path.
///
/// ```
/// use flott::prelude::*;
///
/// #[derive(Record)]
/// struct Payment {
///     card: u64,
///     #[record(serde)]
///     terminal: std::net::IpAddr,
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
/// ```
/// use flott::prelude::*;
///
/// #[derive(Operator)]
/// struct SmallThenLarge {
///     #[state]
///     armed: ValueState<bool>,
///     #[side_output]
///     refused: SideOutput<i64>,
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
/// ```
/// use flott::prelude::*;
///
/// #[derive(Operator)]
/// struct Quiet {
///     #[timer]
///     silence: EventTimer,
/// }
///
/// #[operator]
/// impl Quiet {
///     fn process(&mut self, at: EventTime) {
///         self.silence.set(at + Duration::from_secs(60));
///     }
///
///     fn on_silence(&mut self, key: &u64, context: &Context, out: &mut Output<(u64, EventTime)>) {
///         out.emit((*key, context.event_time));
///     }
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
/// ```no_run
/// use flott::prelude::*;
///
/// #[derive(clap::Args, Serialize, Deserialize)]
/// struct Params {
///     /// How many numbers to count
///     #[arg(long, default_value_t = 10)]
///     count: u64,
/// }
///
/// /// Counts.
/// #[flott::main]
/// fn main(job: &mut Job, params: Params) -> Result<()> {
///     job.source("numbers", GenerateSource::bounded(params.count, |n| n)).sink("out", PrintSink::json());
///     Ok(())
/// }
/// ```
///
/// `Params` is a `clap::Args` struct with serde's derives; it can be left out. The doc comment is what `--help` says
/// about the job.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    main_fn::attribute(&arguments.into(), &parse_macro_input!(item)).into()
}
