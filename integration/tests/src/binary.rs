use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
};

use serde_json::Value;
use xtask::{cache, process};

/// The binary of `examples/card-alerts`, built when it is first asked for.
pub fn card_alerts() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let mut cargo = process::cargo();
        cargo.current_dir(cache::checkout()).args([
            "build",
            "--package",
            "card-alerts",
            "--bin",
            "card-alerts",
        ]);
        cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "card-alerts cannot be built");
        let messages = String::from_utf8(output.stdout).unwrap();
        let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let executable =
            messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
        executable.expect("cargo names what it has built")
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
