use serde::{Deserialize, Serialize};

/// A part of a source that one subtask reads, such as a Kafka partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Unique within its source.
    pub id: String,
    /// Where to begin and end, as the source encodes it.
    pub payload: Vec<u8>,
}
