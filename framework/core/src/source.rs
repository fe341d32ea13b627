//! Sources, as in FLIP-27: an enumerator at the JobManager finds splits, readers at the TaskManagers read them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    element::Batch,
    error::{Error, ErrorKind, Result},
    id::{CheckpointId, OperatorUid, SubtaskIndex},
    operator::{OperatorMetrics, StepTime},
    record::Record,
};

/// Name of the list state in which a source keeps the splits of its reader, one [`Split::encode`] per item. The
/// JobManager reads it to hand the splits out again.
pub const SPLITS_STATE: &str = "splits";

/// A part of an external system that one reader reads, with how far it has been read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Which part: stable and unique within its source, for example `payments-3`.
    pub id: String,
    /// Position and bounds, in the source's own encoding.
    pub state: Vec<u8>,
}

impl Split {
    /// The split as an item of [`SPLITS_STATE`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.id.encode(&mut bytes);
        self.state.encode(&mut bytes);
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when it is damaged.
    pub fn decode(mut bytes: &[u8]) -> Result<Self> {
        let damaged = |error| Error::new(ErrorKind::State, format!("a source split is damaged: {error}"));
        let id = String::decode(&mut bytes).map_err(damaged)?;
        let state = Vec::decode(&mut bytes).map_err(damaged)?;
        Ok(Self { id, state })
    }
}

/// What a look at the external system found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Splits that were not in `known`.
    pub splits: Vec<Split>,
    /// There will be no others: do not look again.
    pub is_complete: bool,
}

/// Finds the splits of a source. Lives at the JobManager, on a thread of its own; may block.
pub trait SplitEnumerator: Send {
    /// Looks for splits. `known` are those that need not be found again, by id; `is_first` says that this job has never looked before,
    /// so that where to start is a matter of settings (later splits are read from their beginning).
    ///
    /// # Errors
    /// When the external system cannot be asked; it is asked again.
    fn discover(&mut self, known: &BTreeSet<String>, is_first: bool) -> Result<Discovery>;

    /// How long to wait between looks; `None` to look once.
    fn discovery_interval(&self) -> Option<Duration> {
        None
    }
}

/// Whether a reader has more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStatus {
    /// Poll again at once.
    More,
    /// Nothing for now.
    Idle,
    /// Nothing can be read yet, for example before a connection is there. This time makes no split idle.
    Preparing,
    /// All splits are read to their end and no more will come.
    End,
}

/// Takes what a reader reads, one split at a time.
pub trait SourceOutput<T> {
    /// Takes the records out of `batch`. `split` counts the splits of this reader in the order in which they were
    /// added. Times may be left out: then a record's own event time counts, if it has one.
    ///
    /// # Errors
    /// Fails the task.
    fn batch(&mut self, split: usize, batch: &mut Batch<T>) -> Result<()>;

    /// A split has been read to its end: its watermark no longer holds back the others.
    ///
    /// # Errors
    /// Fails the task.
    fn split_ended(&mut self, split: usize) -> Result<()>;
}

/// Reads splits. Runs on a slot's thread and never blocks.
pub trait SourceReader: Send {
    /// Type of its records.
    type Out: Record;

    /// Adds splits to read, from where their state says.
    ///
    /// # Errors
    /// Fails the task.
    fn add_splits(&mut self, splits: Vec<Split>) -> Result<()>;

    /// No more splits will be added.
    fn no_more_splits(&mut self);

    /// Reads some: at most a few batches.
    ///
    /// # Errors
    /// Fails the task.
    fn poll(&mut self, time: StepTime, out: &mut dyn SourceOutput<Self::Out>) -> Result<SourceStatus>;

    /// All its splits, ended ones too, with how far they have been read.
    ///
    /// # Errors
    /// Fails the task.
    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<Vec<Split>>;

    /// The position of the records of a split that were read last, in words, such as `topic payments, partition 3, before
    /// offset 1200`: for error messages. `split` counts as in [`SourceOutput::batch`].
    fn position(&self, _split: usize) -> Option<String> {
        None
    }

    /// A checkpoint is complete. Must not block.
    ///
    /// # Errors
    /// Fails the task.
    fn on_checkpoint_complete(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }
}

/// What a reader learns when it is made.
#[derive(Clone, Debug)]
pub struct ReaderContext {
    /// The source's name.
    pub uid: OperatorUid,
    /// Which copy this is.
    pub subtask: SubtaskIndex,
    /// Its counters.
    pub metrics: Arc<OperatorMetrics>,
}

/// A source: makes the enumerator and the readers.
pub trait Source: Send + Sync + 'static {
    /// Type of its records.
    type Out: Record;

    /// Makes the enumerator. Contacts nothing yet.
    ///
    /// # Errors
    /// When the settings are invalid.
    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>>;

    /// Makes a reader.
    ///
    /// # Errors
    /// When the settings are invalid.
    fn reader(&self, context: &ReaderContext) -> Result<Box<dyn SourceReader<Out = Self::Out>>>;

    /// What it reads, for people: `Kafka topic payments`.
    fn description(&self) -> String;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_read_as_they_were_written() {
        let split = Split { id: "payments-3".into(), state: vec![1, 2, 3] };
        assert_eq!(Split::decode(&split.encode()).unwrap(), split);
        assert_eq!(Split::decode(&[9]).unwrap_err().kind(), ErrorKind::State);
    }
}
