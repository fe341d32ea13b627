//! A file system of its own for the checkpoints, which can be made to stall: every write to it then waits.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use xtask::process::in_own_group;

use crate::error::{Error, Result};

/// Bytes of the file system; a storm's checkpoints are some hundred kilobytes each.
const BYTES: u64 = 512 * 1024 * 1024;

/// An ext4 file system in a file, mounted by a loop device. Needs root and `mkfs.ext4`.
#[derive(Debug)]
pub(crate) struct StallingStore {
    mounted_at: PathBuf,
    freezer: Option<Child>,
}

impl StallingStore {
    /// Makes and mounts one in `directory`, or says why there is none: not every machine allows it.
    pub(crate) fn mount(directory: &Path) -> Result<Self> {
        let (image, mounted_at) = (directory.join("store.ext4"), directory.join("store"));
        let failed = |source| Error::Io { what: format!("cannot create {}", image.display()), source };
        File::create(&image).and_then(|file| file.set_len(BYTES)).map_err(failed)?;
        fs::create_dir_all(&mounted_at).map_err(failed)?;
        run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted_at))?;
        Ok(Self { mounted_at, freezer: None })
    }

    /// The mount point.
    pub(crate) fn path(&self) -> &Path {
        &self.mounted_at
    }

    /// Stalls all writes for `frozen`.
    ///
    /// A process of its own thaws the file system again: a process of the job that is killed in the middle of a write
    /// is gone only afterwards, so whoever kills it waits.
    pub(crate) fn freeze(&mut self, frozen: Duration) -> Result<()> {
        self.thaw();
        let mut freezer = in_own_group("sh");
        freezer.args(["-c", FREEZE, "flott-store-freezer"]).arg(&self.mounted_at);
        freezer.arg(format!("{:.3}", frozen.as_secs_f64()));
        let freezer = freezer.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let failed = |source| Error::Io { what: "cannot run sh".to_owned(), source };
        self.freezer = Some(freezer.map_err(failed)?);
        Ok(())
    }

    /// Returns `true` while writes wait.
    pub(crate) fn is_frozen(&mut self) -> bool {
        self.freezer.as_mut().is_some_and(|freezer| matches!(freezer.try_wait(), Ok(None)))
    }

    /// Lets all writes go on.
    pub(crate) fn thaw(&mut self) {
        if let Some(mut freezer) = self.freezer.take() {
            // The end of its standard input ends its wait.
            drop(freezer.stdin.take());
            let _ = freezer.wait();
        }
    }
}

impl Drop for StallingStore {
    fn drop(&mut self) {
        self.thaw();
        let _ = run(Command::new("umount").arg("-l").arg(&self.mounted_at));
    }
}

/// Ends early when standard input does: with `thaw`, or with the storm itself.
const FREEZE: &str = r#"fsfreeze -f "$1"
trap 'fsfreeze -u "$1"' EXIT
exec 3<&0
timeout "$2" cat <&3 >/dev/null
true"#;

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|source| Error::Io { what: format!("cannot run {program}"), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Refused(format!("{program} failed: {said}")))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use xtask::clock::{Stopwatch, pause};

    use super::*;

    #[test]
    fn writes_to_a_frozen_store_wait_until_it_thaws() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = match StallingStore::mount(directory.path()) {
            Ok(store) => store,
            Err(reason) => return eprintln!("not tested, this machine mounts nothing: {reason}"),
        };
        let path = store.path().join("written");
        let frozen = Duration::from_millis(700);
        store.freeze(frozen).unwrap();
        pause(Duration::from_millis(200));
        let watch = Stopwatch::start();
        thread::spawn(move || fs::write(path, "x").unwrap()).join().unwrap();
        assert!(watch.elapsed() > Duration::from_millis(300), "{:?}", watch.elapsed());
        assert!(!store.is_frozen() || watch.elapsed() < frozen * 10);

        store.freeze(Duration::from_secs(3600)).unwrap();
        assert!(store.is_frozen());
        store.thaw();
        fs::write(store.path().join("later"), "y").unwrap();
    }
}
