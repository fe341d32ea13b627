use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::error::{Result, Trying};

/// Writes a new secret for the processes of a cluster to the file `secret` in a directory, in place of the one that is
/// there. Returns its path.
///
/// # Errors
/// When it cannot be written.
pub fn make_secret(directory: &Path) -> Result<PathBuf> {
    let path = directory.join("secret");
    let what = || format!("cannot write a secret to {}", path.display());
    let mut random = [0; 32];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).trying(what)?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::create_dir_all(directory).trying(what)?;
    // Renamed into place: a process that reads it meanwhile sees a whole one.
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&new);
    file.and_then(|mut file| writeln!(file, "{text}")).trying(what)?;
    fs::rename(&new, &path).trying(what)?;
    Ok(path)
}
