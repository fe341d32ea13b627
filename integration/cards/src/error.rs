use std::io;

use rdkafka::error::KafkaError;

/// What went wrong, in words for the person at the terminal.
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
    /// Kafka refused or could not be reached.
    #[error("kafka: {what}: {source}")]
    Kafka {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: KafkaError,
    },
    /// Input or output is not what it should be.
    #[error("{0}")]
    Unexpected(String),
    /// A process of the job ended, or did not end, against expectation.
    #[error("{0}")]
    Process(String),
    /// From the developer commands.
    #[error(transparent)]
    Xtask(#[from] xtask::Error),
}

/// Result of everything that this crate does.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what was tried when an operation fails.
pub(crate) trait Trying<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Trying<T> for io::Result<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}

impl<T> Trying<T> for std::result::Result<T, KafkaError> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Kafka { what: what(), source })
    }
}
