use std::fmt;

use flott_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

/// Why something ended: an error as plain data, which can be compared, sent and kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What happens next.
    pub kind: ErrorKind,
    /// What happened, why, and what to do about it.
    pub message: String,
}

impl Failure {
    /// A failure of `kind`.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Whether a restart of the job can help.
    #[must_use]
    pub fn is_restartable(&self) -> bool {
        self.kind.is_restartable()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.kind, failure.message)
    }
}
