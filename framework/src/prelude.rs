//! What a job file wants in scope.

pub use std::time::Duration;

#[cfg(feature = "file")]
pub use flott_connectors::file::FileSink;
#[cfg(feature = "kafka")]
pub use flott_connectors::kafka::{sink::KafkaSink, source::KafkaSource};
pub use flott_connectors::{
    collection::CollectionSource, discard::DiscardSink, generate::GenerateSource, print::PrintSink,
};
pub use flott_core::{
    Error, ErrorKind, EventTime, ProcessingTime, Record, Result, ResultExt, Watermark,
    operator::{Output, SideOutput},
    state::{EventTimer, MapState, ProcessingTimer, ValueState},
};
pub use flott_macros::{Operator, Record, operator};
pub use flott_operators::{
    function::Context,
    watermark::Watermarks,
    window::{Aggregate, Count, Sum, TumblingWindows, Window},
};
pub use serde::{Deserialize, Serialize};

pub use crate::{Job, KeyedStream, Stream, WindowedStream};
