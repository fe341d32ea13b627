//! Where things are kept between runs: the user's cache directory, never the checkout.

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

/// Cargo's target directory for everything that the developer commands build: `CARGO_TARGET_DIR` if set, else one
/// in the cache.
pub fn target_directory() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR").filter(|given| !given.is_empty()) {
        Some(given) => std::path::absolute(&given).unwrap_or_else(|_| given.into()),
        None => directory().join("target"),
    }
}

/// The checkout this binary was built from.
pub fn checkout() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).expect("this package lies two levels below the checkout")
}
