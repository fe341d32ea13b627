//! What can go wrong in a benchmark.

use std::process::ExitStatus;

/// A result of this program.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A timed process failed.
    #[error("{what} ended with {status}\n{output}")]
    Process {
        /// Which one.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        output: String,
    },
    /// Two runs that should do the same work did not.
    #[error("{0}")]
    Different(String),
    /// What the workload needs is not to be had.
    #[error("{0}")]
    Missing(String),
    /// A developer command of ours failed.
    #[error(transparent)]
    Command(#[from] xtask::Error),
    /// The broker, or what feeds and reads it, failed.
    #[error(transparent)]
    Cards(#[from] flott_cards::Error),
}

/// Says what was tried when something failed.
pub(crate) trait Trying<T> {
    /// Adds what was tried.
    fn trying(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Trying<T> for Result<T, E> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { what: what(), source: source.into() })
    }
}
