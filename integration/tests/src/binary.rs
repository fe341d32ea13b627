use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use xtask::job;

/// The binary of `examples/card-alerts`, built when it is first asked for.
pub fn card_alerts() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        job::for_tests(env!("CARGO_PKG_NAME")).unwrap_or_else(|error| panic!("no card-alerts: {error}"))
    })
}

/// A copy of the binary that is another build: it runs the same, but it is not the same file.
pub fn card_alerts_of_another_build(directory: &Path) -> PathBuf {
    let copy = directory.join("card-alerts-of-another-build");
    fs::copy(card_alerts(), &copy).unwrap();
    // What follows the sections of a program is not looked at when it is run.
    fs::File::options().append(true).open(&copy).unwrap().write_all(b"another build").unwrap();
    copy
}
