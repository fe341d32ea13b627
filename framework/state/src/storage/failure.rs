//! What a failure of the object store means to the job.

use std::{error::Error as StdError, io};

use flott_core::{Error, ErrorKind};
use object_store::path::Path;

/// A failed read: missing is for a person to judge, all else may heal.
pub(crate) fn read_failure(path: &Path, error: object_store::Error) -> Error {
    if matches!(error, object_store::Error::NotFound { .. }) {
        return Error::new(ErrorKind::State, format!("{path} is missing in the checkpoint directory"));
    }
    Error::from(error).with_kind(ErrorKind::Transient).context(format_args!("cannot read {path}"))
}

/// A failed write: it may heal, when someone makes room for example.
pub(crate) fn write_failure(path: &Path, error: object_store::Error) -> Error {
    let advice = advice(&error);
    let error = Error::from(error).with_kind(ErrorKind::Transient);
    error.context(format_args!("cannot write {path}{advice}"))
}

/// What to do about a failed write, led by what it is.
pub(crate) fn advice(error: &(dyn StdError + 'static)) -> &'static str {
    match io_kind(error) {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            " (no space is left: free some, or move the checkpoint directory)"
        }
        Some(io::ErrorKind::PermissionDenied) => " (not allowed: give this user write access)",
        Some(io::ErrorKind::ReadOnlyFilesystem) => " (the file system is read-only)",
        _ => "",
    }
}

fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: io::ErrorKind) -> object_store::Error {
        object_store::Error::Generic { store: "test", source: Box::new(io::Error::from(kind)) }
    }

    #[test]
    fn a_full_disk_may_heal_and_says_what_to_do() {
        let error = write_failure(&Path::from("a/b"), failed(io::ErrorKind::StorageFull));
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.to_string().starts_with("cannot write a/b (no space is left: free some"), "{error}");
    }

    #[test]
    fn a_missing_object_is_for_a_person_to_judge() {
        let missing = object_store::Error::NotFound { path: "x".into(), source: "gone".into() };
        assert_eq!(read_failure(&Path::from("x"), missing).kind(), ErrorKind::State);
        let slow = read_failure(&Path::from("x"), failed(io::ErrorKind::TimedOut));
        assert_eq!(slow.kind(), ErrorKind::Transient);
    }
}
