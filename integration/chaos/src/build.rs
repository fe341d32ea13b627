use std::path::PathBuf;

use xtask::{cache, process};

use crate::{ablation::Ablation, error::Result};

/// Builds the job's binary, and returns where it lies. One that can leave something out is built only beside a storm
/// that can, in the same target directory.
pub(crate) fn card_alerts(without: Option<Ablation>) -> Result<PathBuf> {
    let target = cache::target_directory();
    let mut cargo = process::cargo();
    cargo
        .current_dir(cache::checkout())
        .env("CARGO_TARGET_DIR", &target)
        // Named beside this package, it is built with the same features, so that all they share is built already.
        .args(["build", "--release", "--package", env!("CARGO_PKG_NAME"), "--package", "card-alerts"])
        .args(["--bin", "card-alerts"])
        .stdout(std::io::stderr());
    if without.is_some() {
        cargo.args(["--features", "ablation"]);
    }
    process::run_checked(&mut cargo)?;
    Ok(target.join("release").join("card-alerts"))
}
