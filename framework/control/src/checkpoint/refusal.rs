use std::fmt;

/// Why an acknowledgement or decline was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckRefusal {
    /// It comes from another attempt.
    ForeignAttempt,
    /// There is no such checkpoint: it was aborted, is not kept any more, or never was.
    NotCollecting,
    /// The job has no such task.
    UnknownTask,
    /// The task has acknowledged this checkpoint before.
    Duplicate,
}

impl AckRefusal {
    /// Whether the checkpoint can never be completed, so that all its files can be deleted.
    #[must_use]
    pub fn is_checkpoint_dead(self) -> bool {
        matches!(self, Self::ForeignAttempt | Self::NotCollecting)
    }
}

impl fmt::Display for AckRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ForeignAttempt => "it is of another attempt",
            Self::NotCollecting => "the checkpoint is not collecting any more",
            Self::UnknownTask => "the job has no such task",
            Self::Duplicate => "the task has acknowledged it before",
        })
    }
}
