use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const SIZE_MIB: u64 = 128;

/// A file system of its own on a directory, which can be made to stall: a file with ext4 in it, mounted.
///
/// While it is frozen, whoever writes to it waits in the kernel and cannot even be killed.
pub struct LoopDisk {
    place: PathBuf,
    image: PathBuf,
}

impl LoopDisk {
    /// Mounts one at `place`, an empty directory.
    ///
    /// # Errors
    /// The reason why this machine cannot: it takes root and loop devices.
    pub fn mount(place: &Path) -> Result<Self, String> {
        let image = place.with_extension("img");
        let file = fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(SIZE_MIB << 20).map_err(|error| error.to_string())?;
        let disk = Self { place: place.to_owned(), image };
        run(Command::new("mkfs.ext4").arg("-q").arg(&disk.image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&disk.image).arg(place))?;
        Ok(disk)
    }

    /// Nothing is written until what this returns is dropped.
    #[must_use]
    pub fn freeze(&self) -> FrozenDisk<'_> {
        run(Command::new("fsfreeze").arg("--freeze").arg(&self.place)).unwrap();
        FrozenDisk(self)
    }
}

/// A file system that is frozen.
pub struct FrozenDisk<'a>(&'a LoopDisk);

impl Drop for FrozenDisk<'_> {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.0.place)) {
            eprintln!("a file system stays frozen: {error}");
        }
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // It may not be mounted.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.place));
        let _ = fs::remove_file(&self.image);
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let what = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{what}: {error}"))?;
    let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{what}: {errors}")) }
}
