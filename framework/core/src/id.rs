//! Identifiers. Each is its own type, so that one cannot be passed where another is meant.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl $name {
            /// The id that follows this one.
            ///
            /// # Panics
            /// When the number space is exhausted.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("ids do not run out"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id! {
    /// A checkpoint of a job. Grows by one per triggered checkpoint, over all attempts and JobManagers of the job.
    CheckpointId(u64)
}
number_id! {
    /// One try to run the job. Every restart is a new attempt.
    AttemptId(u64)
}
number_id! {
    /// The reign of one JobManager. A message or write with an older epoch than the newest is refused.
    LeaderEpoch(u64)
}
number_id! {
    /// Scope of transactional ids: raised before an attempt is deployed unless every task of the previous
    /// attempt is known to be dead.
    Generation(u64)
}
number_id! {
    /// A vertex of the execution plan: one operator chain. Its position in the plan's vertex list.
    VertexId(u32)
}
number_id! {
    /// An operator of the job graph. Its position in the graph's operator list.
    OperatorId(u32)
}
number_id! {
    /// An edge of the job graph. Its position in the graph's edge list.
    EdgeId(u32)
}
number_id! {
    /// One parallel copy of a vertex, counted from zero.
    SubtaskIndex(u32)
}
number_id! {
    /// A TaskManager as registered with one JobManager; never reused within a leader epoch.
    TaskManagerId(u64)
}

/// The stable name of an operator, given by the user. State, metrics and the UI go by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperatorUid(String);

impl OperatorUid {
    /// Longest allowed uid, in bytes: uids are parts of object names and of transactional ids.
    pub const BYTES_MAX: usize = 100;

    /// Checks and wraps a uid.
    ///
    /// # Errors
    /// The reason, when the name is empty, too long, or has characters other than ASCII letters, digits, `-`, `_`.
    pub fn new(name: impl Into<String>) -> Result<Self, String> {
        let name = name.into();
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() {
            return Err("a uid must not be empty".into());
        }
        if name.len() > Self::BYTES_MAX {
            return Err(format!("uid {name:?} is longer than {} bytes", Self::BYTES_MAX));
        }
        if let Some(bad) = name.chars().find(|&c| !is_allowed(c)) {
            return Err(format!("uid {name:?} contains {bad:?}; use ASCII letters, digits, '-' and '_'"));
        }
        Ok(Self(name))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperatorUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which job, and which run of it: by these, a sink knows its own traces in an external system from those of others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobIdentity {
    /// The job's name.
    pub name: String,
    /// Differs between runs that each began from nothing.
    pub run: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_checked() {
        assert!(OperatorUid::new("card-totals_2").is_ok());
        assert!(OperatorUid::new("").is_err());
        assert!(OperatorUid::new("a/b").unwrap_err().contains("'/'"));
        assert!(OperatorUid::new("x".repeat(101)).is_err());
    }
}
