//! Flott's words and contracts: ids, time, records, state and operator traits. No I/O, no threads.
#![forbid(unsafe_code)]

pub mod error;
pub mod id;
pub mod time;

pub use error::{Error, ErrorKind, Result, ResultExt};
pub use id::{
    AttemptId, CheckpointId, EdgeId, Generation, LeaderEpoch, OperatorId, OperatorUid, SubtaskIndex,
    TaskManagerId, VertexId,
};
pub use time::{Clock, EventTime, MonotonicTime, ProcessingTime, SystemClock, Watermark};
