//! What the README tells a stranger to type works as it stands.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use xtask::cache::checkout;

/// The one block of the README in this language.
fn block(language: &str) -> String {
    let readme = fs::read_to_string(checkout().join("README.md")).unwrap();
    let mut blocks = readme.split("\n```").filter_map(|text| text.strip_prefix(language)?.strip_prefix('\n'));
    let block = blocks.next().unwrap_or_else(|| panic!("README.md has no block of {language}"));
    assert_eq!(blocks.next(), None, "one block of {language}");
    format!("{block}\n")
}

/// The profile that this workspace builds its dependencies with: so they need not be built a second time.
fn profile() -> String {
    let manifest = fs::read_to_string(checkout().join("Cargo.toml")).unwrap();
    let from = manifest.find("[profile.dev]").unwrap();
    manifest[from..manifest.find("[profile.release]").unwrap()].to_owned()
}

/// Leaves a file alone that is as it should be, so that cargo need not build it again.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::write(path, text).unwrap();
    }
}

/// The job of the README as a crate of its own. It always lies in the same place, below the target directory: else each
/// run would leave another binary behind.
fn stolen_cards() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    fs::create_dir_all(directory.join("src")).unwrap();
    let there = "\"../flott/framework\"";
    let manifest = block("toml");
    assert!(manifest.contains(there), "{manifest}");
    let here = format!("{:?}", checkout().join("framework"));
    let manifest = format!("{}\n{}\n[workspace]\n", manifest.replace(there, &here), profile());
    write(&directory.join("Cargo.toml"), &manifest);
    write(&directory.join("src/main.rs"), &block("rust,no_run"));
    fs::copy(checkout().join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    let target = directory.ancestors().nth(2).unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&directory).args(["build", "--quiet", "--offline", "--target-dir"]).arg(target);
    assert!(cargo.status().unwrap().success(), "the README's job does not build");
    target.join("debug/stolen-cards")
}

#[test]
fn a_stranger_can_build_the_job_and_look_at_its_plan() {
    let plan = Command::new(stolen_cards()).arg("plan").env_clear().output().unwrap();
    let text = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.status.success(), "{text}{}", String::from_utf8_lossy(&plan.stderr));
    for part in ["payments", "small-then-large", "alerts", "exactly-once"] {
        assert!(text.contains(part), "{part} is not in the plan:\n{text}");
    }
}
