use std::path::PathBuf;

use xtask::{cache, process};

use crate::{error::Result, show};

/// Builds the job's binary, and returns where it lies.
pub(crate) fn card_alerts() -> Result<PathBuf> {
    show::step("building card-alerts (release)");
    let target = cache::target_directory();
    let mut cargo = process::cargo();
    cargo
        .current_dir(cache::checkout())
        .env("CARGO_TARGET_DIR", &target)
        // Named beside this package, it is built with the same features, so that all they share is built already.
        .args(["build", "--release", "--package", env!("CARGO_PKG_NAME"), "--package", "card-alerts"])
        .args(["--bin", "card-alerts"])
        .stdout(std::io::stderr());
    process::run_checked(&mut cargo)?;
    Ok(target.join("release").join("card-alerts"))
}
