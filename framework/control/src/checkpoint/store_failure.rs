/// The reason why a checkpoint was not stored. The driver reports it only when it is *certain* that it is not in the journal and
/// will not appear, or that this JobManager must stop: after an unclear answer it has to read back or repeat first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreFailure {
    /// A newer leader epoch has written, or may have: this JobManager is deposed. The manifest may count.
    Conflict,
    /// The checkpoint storage refused or failed.
    Io(String),
}
