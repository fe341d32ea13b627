//! Keyed state: what operators declare and use, and what a backend provides.
//!
//! The engine works on a batch of keys at a time: it hands the batch to every table ([`KeyedState::begin_batch`]),
//! lets the tables prefetch, then points all handles at one record after the other. So a handle such as
//! [`ValueState`] need not know the type of the key, and memory latency is paid once per batch.

mod backend;
pub mod compatibility;
mod declaration;
mod handles;
mod keys;
mod tables;

pub use backend::{StateBackend, StateBinder, damaged};
pub use declaration::{StateDeclaration, StateKind, StateOptions, TimeDomain, Ttl};
pub use handles::{EventTimer, MapState, ProcessingTimer, StateHandle, ValueState};
pub use keys::{KeyBatch, SharedKeys};
pub use tables::{KeyedState, MapTable, TimerTable, ValueTable, WindowTable};
