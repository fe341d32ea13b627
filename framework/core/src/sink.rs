//! Sinks with two-phase commit, as in FLIP-143: writers at the TaskManagers, a settler at the JobManager.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    element::Batch,
    error::Result,
    id::{AttemptId, CheckpointId, Generation, JobIdentity, OperatorUid, SubtaskIndex},
    operator::{OperatorMetrics, Readiness, StepTime},
    record::Record,
    snapshot::WriteList,
};

/// Name of the list state in which a sink keeps its committables. The JobManager reads it to settle them.
pub const COMMITTABLES_STATE: &str = "committables";

/// What a sink promises when the job is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryGuarantee {
    /// Nothing at all: output may be lost and repeated.
    None,
    /// Nothing is lost; output may be repeated.
    AtLeastOnce,
    /// Nothing is lost and nothing is repeated.
    ExactlyOnce,
}

impl std::fmt::Display for DeliveryGuarantee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "no guarantee",
            Self::AtLeastOnce => "at-least-once",
            Self::ExactlyOnce => "exactly-once",
        })
    }
}

/// What a writer learns when it is made.
#[derive(Clone, Debug)]
pub struct WriterContext {
    /// The sink's name.
    pub uid: OperatorUid,
    /// The job it belongs to.
    pub job: Arc<JobIdentity>,
    /// Which copy this is.
    pub subtask: SubtaskIndex,
    /// Of how many.
    pub parallelism: u32,
    /// The try of the job.
    pub attempt: AttemptId,
    /// Scope of transactional ids.
    pub generation: Generation,
    /// Its counters.
    pub metrics: Arc<OperatorMetrics>,
}

/// Writes records to an external system. Runs on a slot's thread and never blocks.
///
/// A task asks for [`Self::readiness`] before a batch and before a barrier, and calls [`Self::advance`] about every millisecond
/// while it works. Dropping the writer does not block either: output that no complete checkpoint lists is left to recovery.
pub trait SinkWriter: Send {
    /// Type of its records.
    type In: Record;

    /// Takes the records of a batch; may leave it in any state. One answer [`Readiness::Ready`] may be followed by several
    /// batches, if one record makes many.
    ///
    /// # Errors
    /// Fails the task.
    fn write(&mut self, batch: &mut Batch<Self::In>) -> Result<()>;

    /// The room for a batch or a barrier. [`Readiness::Full`] stalls the task until [`Self::advance`] or background work has
    /// made room; a writer that is ready stays so until it is given something. The question changes nothing, and is asked often.
    ///
    /// # Errors
    /// Fails the task, when background work has failed.
    fn readiness(&self) -> Result<Readiness> {
        Ok(Readiness::Ready)
    }

    /// Serves background work: hands on what waits, takes notice of deliveries and commits.
    ///
    /// # Errors
    /// Fails the task, for example when a commit was refused.
    fn advance(&mut self, _time: StepTime) -> Result<()> {
        Ok(())
    }

    /// A barrier: everything written so far belongs to `checkpoint`. Called when [`Self::readiness`] is
    /// [`Readiness::Ready`], or has been so before the last writes. The returned closure runs on a background thread,
    /// makes the output durable but not visible, and returns the committables; it may block. Records written after
    /// this call belong to the next checkpoint, also while the closure runs. When the checkpoint is given up, the closure
    /// may be dropped without having run: what it was to do falls to that of the next checkpoint.
    ///
    /// # Errors
    /// Fails the task.
    fn precommit(&mut self, checkpoint: CheckpointId) -> Result<WriteList>;

    /// A checkpoint is complete: makes the output of all checkpoints up to it visible. Starts the work and returns.
    ///
    /// # Errors
    /// Fails the task.
    fn commit(&mut self, checkpoint: CheckpointId) -> Result<()>;

    /// Returns `true` if the output of all checkpoints up to this one, for which [`Self::commit`] was called, is visible. A writer
    /// that commits in the background returns `false` until it is. Asked after each [`Self::advance`] until then; a job
    /// whose sink is exactly-once does not end before.
    fn has_committed(&self, _checkpoint: CheckpointId) -> bool {
        true
    }
}

/// The setting by which a person accepts that output is lost, for messages that offer it.
pub const ACCEPT_LOST_OUTPUT: &str = "accept_lost_output";

/// The setting by which a person allows that output is repeated.
pub const ALLOW_REPEATED_OUTPUT: &str = "allow_repeated_output";

/// What recovery asks of a sink.
#[derive(Clone, Debug)]
pub struct SettleRequest {
    /// The sink's name.
    pub uid: OperatorUid,
    /// The job it belongs to.
    pub job: JobIdentity,
    /// The checkpoint that the job goes on from, if any.
    pub checkpoint: Option<CheckpointId>,
    /// A newer checkpoint was completed but could not be read: its output may be there.
    pub is_fallback: bool,
    /// The committables that this checkpoint lists for the sink.
    pub committables: Vec<Vec<u8>>,
    /// Generations in which attempts may have been deployed and that are not swept yet, with their parallelism.
    pub generations: Vec<(Generation, u32)>,
    /// Output that would be repeated is accepted.
    pub allow_repeated_output: bool,
    /// Output that is lost is reported and accepted.
    pub accept_lost_output: bool,
}

/// What settling has found: among it lost output that was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleReport {
    /// Committables found or made visible.
    pub committed: u64,
    /// Records that readers will miss.
    pub lost_records: u64,
    /// One line per lost transaction.
    pub lost: Vec<String>,
    /// Output that is committed or discarded, yet holds up readers: one line each, with what to do.
    pub hanging: Vec<String>,
    /// Items for [`Settler::audit`] to look at again, because they hang or could not be looked at.
    pub to_audit: Vec<Vec<u8>>,
    /// After how long the external system gives up what is not committed; none, if it never does.
    pub transaction_timeout: Option<Duration>,
    /// For how long it is worth looking for what late zombies have opened since: see [`Settler::sweep`].
    pub sweep_for: Duration,
}

/// The request of an audit to a sink.
#[derive(Clone, Debug)]
pub struct AuditRequest {
    /// The sink's name.
    pub uid: OperatorUid,
    /// The items that earlier settlements and audits have left open. Items of other sinks are among them.
    pub to_audit: Vec<Vec<u8>>,
}

/// The result of an audit for the items of one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// See [`SettleReport::hanging`].
    pub hanging: Vec<String>,
    /// Not all that was asked for could be looked at.
    pub is_partial: bool,
    /// See [`SettleReport::to_audit`].
    pub to_audit: Vec<Vec<u8>>,
}

/// What a sweep asks of a sink.
#[derive(Clone, Debug)]
pub struct SweepRequest {
    /// The sink's name.
    pub uid: OperatorUid,
    /// The job it belongs to.
    pub job: JobIdentity,
    /// Generations before this one are over and settled: what is open of them is of no use to anybody.
    pub below: Generation,
}

/// Finishes what attempts that are over have left behind. Lives at the JobManager, on a thread of its own; may block.
pub trait Settler: Send {
    /// Makes the output of the checkpoint visible and makes sure that nothing else of older attempts ever becomes so.
    ///
    /// # Errors
    /// Each names the sink.
    ///
    /// [`ErrorKind::OutputLost`](crate::ErrorKind::OutputLost) when output of the checkpoint is lost;
    /// [`ErrorKind::State`](crate::ErrorKind::State) when output would be repeated;
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) when another job uses the same names;
    /// [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable) or
    /// [`ErrorKind::Transient`](crate::ErrorKind::Transient): try again.
    fn settle(&mut self, request: &SettleRequest) -> Result<SettleReport>;

    /// Looks whether readers get what settlements have made visible. Called every 30 s while something is open.
    ///
    /// # Errors
    /// An audit that fails is reported, and everything it was asked about stays open.
    fn audit(&mut self, _request: &AuditRequest) -> Result<AuditReport> {
        Ok(AuditReport::default())
    }

    /// Removes what late zombies have opened after the settlement: tasks of older attempts that nobody has seen end.
    /// Their output is never committed, but it lies about and may hold up readers. Returns what it has removed, by name.
    ///
    /// # Errors
    /// A sweep that fails is reported, and tried again at its next turn.
    fn sweep(&mut self, _request: &SweepRequest) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// A sink: makes writers and, where output is committed in two phases, the settler.
pub trait Sink: Send + Sync + 'static {
    /// Type of its records.
    type In: Record;

    /// Makes a writer.
    ///
    /// # Errors
    /// When the external system refuses.
    fn writer(&self, context: &WriterContext) -> Result<Box<dyn SinkWriter<In = Self::In>>>;

    /// Makes the settler; `None` for a sink that leaves nothing behind.
    ///
    /// # Errors
    /// When the settings are invalid.
    fn settler(&self) -> Result<Option<Box<dyn Settler>>> {
        Ok(None)
    }

    /// What it promises.
    fn guarantee(&self) -> DeliveryGuarantee;

    /// Where it writes, for people: `Kafka topic alerts`.
    fn description(&self) -> String;

    /// Checks settings against the external system, at a JobManager before it leads: another one may be running the job, so
    /// nothing that it relies on is changed. May block.
    /// `checkpoint_interval_ms`: interval and pause of checkpoints together. A transaction stays open for so long at least.
    ///
    /// # Errors
    /// What is wrong, why, and what to do.
    fn check(&self, _checkpoint_interval_ms: u64) -> Result<()> {
        Ok(())
    }
}
