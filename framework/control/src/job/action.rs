use std::collections::BTreeMap;

use flott_core::{
    AttemptId, CheckpointId, Generation, MonotonicTime, TaskManagerId, VertexId,
    task::{Failure, TaskAction, TaskId},
};

use super::{JobStatus, ShutdownStep};
use crate::{
    checkpoint::{AckRefusal, CheckpointKind, Part},
    slots::SlotAssignment,
    splits::EnumeratorSnapshot,
};

/// What the JobMaster asks its driver to do, in this order. What goes to one TaskManager must arrive in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "variants are documented; their fields are named by their types")]
pub enum Action<S> {
    /// Compare-and-set the generation from `above` to the next, and record `unswept`. Answer: `GenerationRaised`,
    /// `GenerationNotRaised` or `Deposed`.
    RaiseGeneration {
        above: Generation,
        /// Generations in which output may be left open, the next one included, with the parallelism of their sinks.
        unswept: Vec<(Generation, u32)>,
    },
    /// Read a completed checkpoint and make sure that its files are there. Answer: `CheckpointRead`,
    /// `CheckpointUnreadable` if this JobManager still leads, `SettleFailed` or `Deposed`.
    ReadCheckpoint {
        checkpoint: CheckpointId,
        /// Look into the snapshot files, not only for them.
        is_thorough: bool,
    },
    /// Settle what the checkpoint that was read lists and fence the ids of every generation up to and including
    /// `generation`. At most one is under way. The driver makes sure first that it still leads. Answer: `Settled`,
    /// `SettleFailed` or `Deposed`.
    Settle {
        checkpoint: Option<CheckpointId>,
        /// A newer checkpoint could not be read.
        is_fallback: bool,
        generation: Generation,
        /// Generations up to `generation` in which output may be left open, with the parallelism of their sinks.
        unswept: Vec<(Generation, u32)>,
        /// The run repeats one that had ended and has no checkpoint: its output is repeated on purpose.
        is_repeat: bool,
    },
    /// Remove what late zombies of generations before `below` have opened since they were settled. At most one is under
    /// way, and never beside a settling. Answer: `Swept`.
    Sweep { below: Generation },
    /// Start an attempt. Slots that are not mentioned stay idle.
    Deploy {
        attempt: AttemptId,
        generation: Generation,
        restore: Option<CheckpointId>,
        assignment: Vec<SlotAssignment>,
    },
    /// End all tasks of the attempt in these TaskManagers, which answer `AttemptGone`.
    CancelTasks { attempt: AttemptId, task_managers: Vec<TaskManagerId> },
    /// Close the connection: the JobMaster counts this TaskManager as lost already.
    Disconnect { task_manager: TaskManagerId, reason: String },

    /// Begin to look for splits and go on until `DiscoveryEnded` or `DiscoveryFailed`. All are to be found, those that a
    /// checkpoint holds as well.
    DiscoverSplits { vertex: VertexId },
    /// Pass this on to one task of the attempt, if it still runs.
    TellTask { attempt: AttemptId, task: TaskId, action: TaskAction },

    /// Have the sources of the attempt inject barriers, and stop reading if `kind` ends the attempt.
    TriggerCheckpoint { attempt: AttemptId, checkpoint: CheckpointId, kind: CheckpointKind },
    /// Write the manifest and append to the journal under the leader epoch, unless `append_before` has passed by then.
    /// Answer: `CheckpointStored` or `CheckpointStoreFailed`.
    StoreCheckpoint {
        attempt: AttemptId,
        checkpoint: CheckpointId,
        kind: CheckpointKind,
        sources: BTreeMap<VertexId, EnumeratorSnapshot>,
        parts: Vec<Part<S>>,
        append_before: MonotonicTime,
    },
    /// Take a checkpoint that was stored too late out of the journal again. Answer: `CheckpointWithdrawn`,
    /// `CheckpointNotWithdrawn` or `Deposed`.
    WithdrawCheckpoint {
        checkpoint: CheckpointId,
        /// The run has no other checkpoint and repeats one that had ended.
        is_repeat: bool,
    },
    /// The checkpoint counts. Tell all tasks of the attempt, if it still runs: sinks commit.
    CompleteCheckpoint { attempt: Option<AttemptId>, checkpoint: CheckpointId },
    /// Tell all tasks of the attempt, if it still runs, to forget the checkpoint; delete its snapshots.
    AbortCheckpoint { attempt: AttemptId, checkpoint: CheckpointId, reason: String },
    /// Delete these completed checkpoints.
    DiscardCheckpoints { checkpoints: Vec<CheckpointId> },
    /// An acknowledgement or decline counted for nothing. When the checkpoint is dead, delete its files again: this may be
    /// one that was written after they were deleted.
    RefuseAck { attempt: AttemptId, checkpoint: CheckpointId, task: TaskId, refusal: AckRefusal },

    /// To tell people: the job failed and is tried again at this time at the earliest.
    ReportRestart { failure: Failure, restart_at: MonotonicTime },
    /// To tell people: this process was asked to end, and takes this step.
    ReportShutdown { step: ShutdownStep },
    /// Act no more for this job and let the TaskManagers go: another JobManager leads.
    StepDown,
    /// The job is over for this JobManager. Tell the TaskManagers; leave a terminal record if
    /// `status.is_globally_terminal()`.
    FinishJob { status: JobStatus, failure: Option<Failure> },
}
