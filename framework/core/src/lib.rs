//! Flott's words and contracts: ids, time, records, state and operator traits. No I/O, no threads.
#![forbid(unsafe_code)]

#[cfg(feature = "ablation")]
pub mod ablation;
pub mod element;
pub mod error;
pub mod format;
pub mod hash;
pub mod id;
pub mod key_group;
pub mod operator;
pub mod panic;
pub mod random;
pub mod record;
mod secret;
pub mod sink;
pub mod snapshot;
pub mod source;
pub mod state;
pub mod task;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod time;
mod transaction_budget;

pub use element::{BATCH_RECORDS_MAX, Barrier, Batch, Signal, StreamElement};
pub use error::{Error, ErrorKind, Result, ResultExt};
pub use id::{
    AttemptId, CheckpointId, EdgeId, Generation, JobIdentity, LeaderEpoch, OperatorId, OperatorUid,
    SubtaskIndex, TaskManagerId, VertexId,
};
pub use key_group::{KeyGroup, KeyGroupRange, MaxParallelism};
pub use record::{DecodeError, Key, Record, Schema};
pub use secret::Secret;
pub use time::{Clock, ClockReading, EventTime, MonotonicTime, ProcessingTime, SystemClock, Watermark};
pub use transaction_budget::TransactionBudget;
