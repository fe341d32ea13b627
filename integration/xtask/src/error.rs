use std::io;

/// What went wrong in a developer command, in words for the person at the terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file, a directory or a process could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("{program} failed ({status})")]
    Program {
        /// The command line.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// The machine lacks something that could not be installed.
    #[error("{0}")]
    Missing(String),
    /// A broker did not start or did not stop.
    #[error("kafka: {0}")]
    Broker(String),
    /// A program printed something that could not be understood.
    #[error("{0}")]
    Unexpected(String),
}

/// Result of the developer commands.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what was tried when an I/O operation fails.
pub(crate) trait Trying<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Trying<T> for io::Result<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}
