use std::io;

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Feeding, running or reading back failed.
    #[error(transparent)]
    Cards(#[from] flott_cards::Error),
    /// Building failed, or the broker.
    #[error(transparent)]
    Xtask(#[from] xtask::Error),
    /// A file or directory could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The arguments, or the machine, do not allow a storm.
    #[error("{0}")]
    Refused(String),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;
