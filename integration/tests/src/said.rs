use std::{fs, path::Path};

use tempfile::TempDir;

/// A temporary directory for processes: when a test fails, what they have said is printed before it is removed.
pub struct KeepsWhatWasSaid(TempDir);

impl KeepsWhatWasSaid {
    /// An empty one.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for KeepsWhatWasSaid {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show(self.path());
        }
    }
}

/// Prints what every process has said in a directory and those below.
fn show(directory: &Path) {
    let mut paths: Vec<_> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cluster-")) {
            show(&path);
        } else if path.extension().is_some_and(|extension| extension == "err") {
            let said = fs::read(&path).unwrap_or_default();
            eprintln!("==== {}\n{}", path.display(), String::from_utf8_lossy(&said));
        }
    }
}
