//! Flott's words and contracts: ids, time, records, state and operator traits. No I/O, no threads.
#![forbid(unsafe_code)]

pub mod element;
pub mod error;
pub mod hash;
pub mod id;
pub mod key_group;
pub mod operator;
pub mod panic;
pub mod random;
pub mod record;
pub mod sink;
pub mod snapshot;
pub mod source;
pub mod state;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod time;

pub use element::{BATCH_RECORDS_MAX, Barrier, Batch, Signal, StreamElement};
pub use error::{Error, ErrorKind, Result, ResultExt};
pub use id::{
    AttemptId, CheckpointId, EdgeId, Generation, JobIdentity, LeaderEpoch, OperatorId, OperatorUid,
    SubtaskIndex, TaskManagerId, VertexId,
};
pub use key_group::{KeyGroup, KeyGroupRange, MaxParallelism};
pub use record::{DecodeError, Key, Record, Schema};
pub use time::{Clock, EventTime, MonotonicTime, ProcessingTime, SystemClock, Watermark};
