/// The steps in which this process ends its work for the job. Each request to end the process takes the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShutdownStep {
    /// A last checkpoint is taken and committed.
    Stop,
    /// The tasks are cancelled. The last checkpoint is kept.
    Cancel,
    /// The process ends at once.
    Abandon,
}
