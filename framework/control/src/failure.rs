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
    /// The position in a source of the records that were processed then, if it is known.
    pub position: Option<String>,
}

impl Failure {
    /// A failure of `kind`.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), position: None }
    }

    /// Whether a restart of the job can help.
    #[must_use]
    pub fn is_restartable(&self) -> bool {
        self.kind.is_restartable()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.position.iter().try_for_each(|position| write!(f, " (while it processed {position})"))
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { position: error.position().map(str::to_owned), ..Self::new(error.kind(), error.to_string()) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        Self::new(failure.kind, message)
    }
}
