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
    Error, ErrorKind, EventTime, ProcessingTime, Record, Result, ResultExt, Secret, Watermark,
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

#[cfg(not(feature = "file"))]
#[doc(hidden)]
pub use crate::features::File as FileSink;
#[cfg(not(feature = "kafka"))]
#[doc(hidden)]
pub use crate::features::{Kafka as KafkaSink, Kafka as KafkaSource};
pub use crate::{Job, KeyedStream, Stream, WindowedStream};
