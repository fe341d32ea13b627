use std::fmt;

/// Why an acknowledgement or decline was ignored. The snapshot that came with it belongs to nothing and may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckRefusal {
    /// It comes from another attempt.
    ForeignAttempt,
    /// No such checkpoint is collecting: it was aborted, is already complete, or never was.
    NotCollecting,
    /// The job has no such task.
    UnknownTask,
    /// The task has acknowledged this checkpoint before.
    Duplicate,
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
