/// Why a manifest was not stored. The driver reports it only when it is *certain* that the manifest is not there and
/// will not appear: after an unclear answer it has to read back or repeat first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreFailure {
    /// A newer leader epoch has written: this JobManager is deposed.
    Conflict,
    /// The checkpoint storage refused or failed.
    Io(String),
}
