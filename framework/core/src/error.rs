//! One error type for users and drivers. Its kind says what happens next.

use std::fmt;

/// What the engine does with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// User code or input was at fault: the job restarts by its restart strategy.
    User,
    /// Something outside failed and may heal: the job restarts.
    Transient,
    /// State cannot be restored or does not fit: the job stops and a person decides.
    State,
    /// Output of a completed checkpoint is lost: the job stops and a person decides.
    OutputLost,
    /// A setting, flag or parameter is invalid.
    Settings,
    /// This binary and the cluster's are not the same.
    Incompatible,
    /// The cluster or an external system could not be reached in time.
    Unreachable,
    /// Asked to stop.
    Cancelled,
    /// A bug in the engine.
    Internal,
}

impl ErrorKind {
    /// Whether a restart of the job can help. The other kinds end the job at once.
    #[must_use]
    pub fn is_restartable(self) -> bool {
        matches!(self, Self::User | Self::Transient | Self::Unreachable | Self::Internal)
    }

    /// The process exit code for a job that ended with this kind of error.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::User | Self::Transient => 1,
            Self::Settings => 3,
            Self::State | Self::OutputLost => 4,
            Self::Incompatible => 5,
            Self::Unreachable => 6,
            Self::Internal => 101,
            Self::Cancelled => 0,
        }
    }
}

/// An error with its kind, what happened, and the chain of causes.
///
/// Like `anyhow::Error` it does not implement [`std::error::Error`], so that `?` turns every error into it; such an
/// error counts as [`ErrorKind::User`].
///
/// ```
/// use flott_core::{Error, ErrorKind, Result};
///
/// fn cents(text: &str) -> Result<i64> {
///     Ok(text.parse::<i64>()?)
/// }
/// let error = cents("12x").unwrap_err().context("field `cents`");
/// assert_eq!(error.kind(), ErrorKind::User);
/// assert_eq!(error.to_string(), "field `cents`: invalid digit found in string");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What user functions and drivers return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`. The message says what happened, why, and what to do about it.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), source: None }))
    }

    /// An error in user code or input.
    #[must_use]
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::User, message)
    }

    /// A failure that may heal.
    #[must_use]
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transient, message)
    }

    /// A bug in the engine.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The same error with another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The same error, its message led by `context`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// What happens next.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(source: E) -> Self {
        let mut message = source.to_string();
        let mut cause = source.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = inner.source();
        }
        Self(Box::new(Inner { kind: ErrorKind::User, message, source: Some(Box::new(source)) }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, " ({source:?})"),
            None => Ok(()),
        }
    }
}

/// Gives errors a kind and a place while they pass by.
pub trait ResultExt<T> {
    /// The error as `kind`, its message led by `context`.
    ///
    /// # Errors
    /// The converted error.
    fn or_error(self, kind: ErrorKind, context: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Error>> ResultExt<T> for Result<T, E> {
    fn or_error(self, kind: ErrorKind, context: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().with_kind(kind).context(context))
    }
}
