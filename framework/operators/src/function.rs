//! What user-written operators are to the engine. `#[derive(Operator)]` and `#[operator]` implement these traits; they can
//! as well be written by hand.

use std::any::Any;

use flott_core::{
    EventTime, Key, ProcessingTime, Record, Result, Watermark,
    operator::{Output, SideLink},
    state::{KeyedState, StateBackend, StateBinder, StateDeclaration, TimerTable},
};

/// What fires a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerKind {
    /// The watermark.
    EventTime,
    /// The wall clock.
    ProcessingTime,
}

/// The declared parts of an operator struct: its state, timers and side outputs. Derived by `#[derive(Operator)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not declared as an operator",
    note = "put `#[derive(Operator)]` on the struct"
)]
pub trait OperatorState: Send + 'static {
    /// Its states and timers on keys of type `K`, in field order. Known before the job runs.
    fn declarations<K: Key>() -> Vec<StateDeclaration>;

    /// Its timers, in field order. A timer's position here is its number.
    fn timers() -> &'static [TimerKind];

    /// Names of its side outputs, in field order.
    fn side_outputs() -> &'static [&'static str];

    /// Binds all states and timers to tables for keys of type `K`.
    ///
    /// # Errors
    /// When the restored bytes are damaged or of another schema.
    fn bind<K: Key, B: StateBackend>(&mut self, binder: &mut StateBinder<'_, B>) -> Result<()>;

    /// Visits the tables of all states and timers.
    fn visit_states(&mut self, visitor: &mut dyn FnMut(&mut dyn KeyedState));

    /// The table of a timer, by its number.
    ///
    /// # Panics
    /// When there is no such timer.
    fn timer(&mut self, timer: usize) -> &mut dyn TimerTable;

    /// Points all handles at the key at a position of the current batch; side outputs emit with event time `time`.
    fn select(&mut self, at: usize, time: EventTime);

    /// See [`Operator::bind_side_output`](flott_core::operator::Operator::bind_side_output).
    ///
    /// # Errors
    /// When there is no side output of that name and type.
    fn bind_side_output(&mut self, name: &str, downstream: Box<dyn Any + Send>) -> Result<()>;

    /// Visits all side outputs.
    ///
    /// # Errors
    /// The first error of the visitor.
    fn visit_side_outputs(&mut self, visitor: &mut dyn FnMut(&mut dyn SideLink) -> Result<()>) -> Result<()>;
}

/// What an operator can ask about the record or timer at hand.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Event time of the record, or the time of the timer; [`EventTime::MIN`] for a record that has none.
    pub event_time: EventTime,
    /// How far event time has come.
    pub watermark: Watermark,
    /// The wall clock, read once per step of the task.
    pub processing_time: ProcessingTime,
}

/// User logic on a keyed stream. Implemented by `#[operator]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an operator on keys of type `{K}`",
    note = "put `#[derive(Operator)]` on the struct and `#[operator]` on an `impl` block with a `process` method; a \
            parameter `key: &Key` must have the type that `key_by` returns"
)]
pub trait ProcessFunction<K: Key>: OperatorState {
    /// Type of its input records.
    type In: Record;
    /// Type of its output records.
    type Out: Record;

    /// Processes one record.
    ///
    /// # Errors
    /// Fails the task.
    fn process(
        &mut self,
        key: &K,
        record: Self::In,
        context: &Context,
        out: &mut Output<Self::Out>,
    ) -> Result<()>;

    /// A timer of `key` fires; `timer` is its number.
    ///
    /// # Errors
    /// Fails the task.
    fn on_timer(
        &mut self,
        timer: usize,
        key: &K,
        context: &Context,
        out: &mut Output<Self::Out>,
    ) -> Result<()>;
}
