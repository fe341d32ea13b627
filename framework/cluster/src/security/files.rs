//! Files that hold a proof: read at the start, and again when a handshake begins.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use flott_core::{ErrorKind, Result, ResultExt};

use super::refusal;

/// No file with secrets or certificates is larger.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Others than the owner and the group may read the file.
const READABLE_BY_OTHERS: u32 = 0o004;

/// Reads a file of a key in the settings.
///
/// # Errors
/// [`ErrorKind::Settings`] when it cannot be read or is too large.
pub(super) fn read(key: &str, path: &Path) -> Result<Vec<u8>> {
    let context = || format!("`{key}` {}", path.display());
    let file = File::open(path).or_error(ErrorKind::Settings, context())?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).or_error(ErrorKind::Settings, context())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refusal(format!("{}: it is larger than {FILE_BYTES_MAX} bytes", context())));
    }
    Ok(bytes)
}

/// Warns when a file that should be private can be read by every user of the machine.
pub(super) fn warn_if_public(key: &str, path: &Path) {
    let Ok(metadata) = std::fs::metadata(path) else { return };
    if metadata.mode() & READABLE_BY_OTHERS != 0 {
        let mode = format!("{:04o}", metadata.permissions().mode() & 0o7777);
        tracing::warn!(
            path = %path.display(),
            mode,
            "every user of this machine can read the file of `{key}`; `chmod 600` keeps it private"
        );
    }
}

/// The content of files, and the value that was made of it.
pub(super) struct Watched<T> {
    contents: Vec<Vec<u8>>,
    made: T,
    /// The last attempt to renew it has failed like this.
    failure: Option<String>,
}

/// The result of reading files again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// They contain what they contained.
    Unchanged,
    /// They contain something else, which counts from now on.
    Renewed,
    /// They cannot be used: the old content counts on. To be told to people.
    Failed(String),
    /// They cannot be used, for the same reason as before.
    StillFailing,
}

impl<T> Watched<T> {
    pub(super) fn new(contents: Vec<Vec<u8>>, make: impl Fn(&[Vec<u8>]) -> Result<T>) -> Result<Self> {
        let made = make(&contents)?;
        Ok(Self { contents, made, failure: None })
    }

    pub(super) fn made(&self) -> &T {
        &self.made
    }

    /// Takes what was read just now.
    pub(super) fn renew(
        &mut self,
        contents: Result<Vec<Vec<u8>>>,
        make: impl Fn(&[Vec<u8>]) -> Result<T>,
    ) -> Renewal {
        let contents = match contents {
            Ok(contents) if contents == self.contents => {
                self.failure = None;
                return Renewal::Unchanged;
            }
            other => other,
        };
        match contents.and_then(|contents| Ok((make(&contents)?, contents))) {
            Ok((made, contents)) => {
                *self = Self { contents, made, failure: None };
                Renewal::Renewed
            }
            Err(error) => {
                let text = error.to_string();
                if self.failure.as_ref() == Some(&text) {
                    return Renewal::StillFailing;
                }
                self.failure = Some(text.clone());
                Renewal::Failed(text)
            }
        }
    }
}

/// Paths by the keys of the settings that name them.
pub(super) type Paths = Vec<(&'static str, PathBuf)>;

/// Reads all files.
///
/// # Errors
/// As [`read`].
pub(super) fn read_all(paths: &Paths) -> Result<Vec<Vec<u8>>> {
    paths.iter().map(|(key, path)| read(key, path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(contents: &[Vec<u8>]) -> Result<u32> {
        let text = String::from_utf8_lossy(&contents[0]);
        text.parse().map_err(|_| refusal(format!("{text:?} is no number")))
    }

    fn with(text: &str) -> Result<Vec<Vec<u8>>> {
        Ok(vec![text.as_bytes().to_vec()])
    }

    #[test]
    fn what_cannot_be_used_leaves_the_old_in_place_and_is_told_once() {
        let mut watched = Watched::new(with("1").unwrap(), number).unwrap();
        assert_eq!(watched.renew(with("1"), number), Renewal::Unchanged);
        assert_eq!(watched.renew(with("2"), number), Renewal::Renewed);
        assert!(matches!(watched.renew(with("x"), number), Renewal::Failed(text) if text.contains("\"x\"")));
        assert_eq!(watched.renew(with("x"), number), Renewal::StillFailing);
        assert!(matches!(watched.renew(Err(refusal("gone")), number), Renewal::Failed(_)));
        assert_eq!(*watched.made(), 2);
        assert_eq!(watched.renew(with("2"), number), Renewal::Unchanged);
        assert!(matches!(watched.renew(with("x"), number), Renewal::Failed(_)), "it was good in between");
        assert_eq!(watched.renew(with("3"), number), Renewal::Renewed);
        assert_eq!(*watched.made(), 3);
    }

    #[test]
    fn a_file_is_read_to_its_end_and_no_endless_one() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(read("secret_file", &path).unwrap(), b"abc");
        let error = read("secret_file", Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(error.contains("`secret_file` /dev/zero: it is larger"), "{error}");
        let error = read("secret_file", &directory.path().join("none")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
    }
}
