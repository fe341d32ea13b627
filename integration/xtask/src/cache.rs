//! Directories that are kept between runs: downloads in the user's cache directory, builds in cargo's target directory.

use std::env;
use std::path::{Path, PathBuf};

/// `$XDG_CACHE_HOME/flott` or `~/.cache/flott`; the system's temporary directory for a user without a home.
pub fn directory() -> PathBuf {
    let given = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    given("XDG_CACHE_HOME")
        .or_else(|| given("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("flott")
}

/// Cargo's target directory for everything that the developer commands build: `CARGO_TARGET_DIR` if set, else the one that
/// this program was built in, so that what it shares with others is built once.
pub fn target_directory() -> PathBuf {
    if let Some(given) = env::var_os("CARGO_TARGET_DIR").filter(|given| !given.is_empty()) {
        return std::path::absolute(&given).unwrap_or_else(|_| given.into());
    }
    let program = env::current_exe().unwrap_or_default();
    // Cargo marks its target directories with this file.
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    target.map_or_else(|| checkout().join("target"), Path::to_owned)
}

/// The checkout whose command or test this is.
///
/// Cargo says at run time which one that is: a target directory can be shared by several checkouts, and a binary that
/// Cargo finds fresh in it may have been compiled in another one.
pub fn checkout() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let package = Path::new(&manifest);
    let checkout = package.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    checkout.unwrap_or(package).to_owned()
}
