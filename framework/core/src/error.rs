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
    /// Standard output was closed by its reader, as `head` does: nobody wants the rest of the results.
    OutputClosed,
    /// An external system does not let the job in: login, certificate, permission, or what it is to use is not there. This is
    /// final for a job that has never worked; for one that has, it may pass: the job restarts for a limited time.
    Refused,
}

impl ErrorKind {
    /// Returns `true` if a restart of the job can help. The other kinds end the job at once. [`Self::Refused`] is among those
    /// that a restart can help: the JobManager knows whether the job has ever worked.
    #[must_use]
    pub fn is_restartable(self) -> bool {
        matches!(self, Self::User | Self::Transient | Self::Unreachable | Self::Internal | Self::Refused)
    }

    /// The process exit code for a job that ended with this kind of error.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::User | Self::Transient => 1,
            Self::Settings | Self::Refused => 3,
            Self::State | Self::OutputLost => 4,
            Self::Incompatible => 5,
            Self::Unreachable => 6,
            Self::Internal => 101,
            Self::Cancelled => 0,
            // A shell reports this code for a process that SIGPIPE has ended.
            Self::OutputClosed => 141,
        }
    }
}

/// An error with its kind, what happened, and the chain of causes.
///
/// Like `anyhow::Error` it does not implement [`std::error::Error`], so that `?` turns every error into it; such an
/// error counts as [`ErrorKind::User`], or as [`ErrorKind::Transient`] when it comes from a connection that failed.
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
    position: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What user functions and drivers return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`. The message says what happened, why, and what to do about it.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), position: None, source: None }))
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

    /// The same error with the position in a source of the records that were processed when it occurred, unless it has
    /// one.
    #[must_use]
    pub fn at_position(mut self, position: impl FnOnce() -> Option<String>) -> Self {
        if self.0.position.is_none() {
            self.0.position = position();
        }
        self
    }

    /// The position in a source of the records that were processed when it occurred, if it is known. Not part of the
    /// message: two failures at slightly different positions can have one cause.
    #[must_use]
    pub fn position(&self) -> Option<&str> {
        self.0.position.as_deref()
    }

    /// The kind, which decides whether the job is restarted.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(source: E) -> Self {
        let mut message = source.to_string();
        let mut kind = kind_of(&source);
        let mut cause = source.source();
        while let Some(inner) = cause {
            kind = if kind == ErrorKind::User { kind_of(inner) } else { kind };
            let text = inner.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = inner.source();
        }
        let (position, source) = (None, Some(Box::new(source) as _));
        Self(Box::new(Inner { kind, message, position, source }))
    }
}

/// The kind of a foreign error: a connection that is refused, lost or too slow may come back later.
fn kind_of(error: &(dyn std::error::Error + 'static)) -> ErrorKind {
    use std::io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkDown,
        NetworkUnreachable, NotConnected, TimedOut,
    };
    match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(
            ConnectionAborted | ConnectionRefused | ConnectionReset | HostUnreachable | NetworkDown
            | NetworkUnreachable | NotConnected | TimedOut,
        ) => ErrorKind::Transient,
        _ => ErrorKind::User,
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

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// An error of a library, caused by another one.
    #[derive(Debug)]
    struct Caused(io::Error);

    impl fmt::Display for Caused {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cannot look up")
        }
    }

    impl std::error::Error for Caused {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_connection_that_failed_may_heal() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        for error in [Error::from(refused()), Error::from(Caused(refused()))] {
            assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        }
        assert_eq!(Error::from(io::Error::from(io::ErrorKind::NotFound)).kind(), ErrorKind::User);
    }
}
