//! What the README tells a stranger to type works as it stands.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use xtask::cache::checkout;

/// The blocks of a language in the README, in order.
fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(checkout().join("README.md")).unwrap();
    let parts = readme.split("\n```");
    let blocks = parts.filter_map(|part| part.strip_prefix(language)?.strip_prefix('\n'));
    blocks.map(|block| format!("{block}\n")).collect()
}

/// The profile that this workspace builds its members and dependencies with: so they need not be built a second time.
fn profile() -> String {
    let manifest = fs::read_to_string(checkout().join("Cargo.toml")).unwrap();
    let from = manifest.find("[profile.dev]").unwrap();
    let mut profile = manifest[from..manifest.find("[profile.release]").unwrap()].to_owned();
    let own: String =
        profile.lines().skip(1).take_while(|line| line.contains('=')).map(|l| format!("{l}\n")).collect();
    let own = own.replace("lto = \"off\"\n", "");
    // Seen from the job they are dependencies.
    let members = manifest.lines().filter_map(|line| line.split_once(" = { path = ")).map(|(name, _)| name);
    profile.extend(members.map(|member| format!("[profile.dev.package.{member}]\n{own}\n")));
    profile
}

/// Leaves a file alone that is as it should be, so that cargo need not build it again.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::write(path, text).unwrap();
    }
}

/// Builds a job of the README as a crate of its own. Each always lies in the same place, below the target directory: else
/// each run would leave another binary behind.
fn job(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme").join(name);
    fs::create_dir_all(directory.join("src")).unwrap();
    let (manifests, sources) = (blocks("toml"), blocks("rust,no_run"));
    assert_eq!((manifests.len(), sources.len()), (2, 2), "one of each per job");
    let (manifest, source) =
        manifests.iter().zip(&sources).find(|(manifest, _)| manifest.contains(&format!("{name:?}"))).unwrap();
    let there = "\"../flott/framework\"";
    assert!(manifest.contains(there), "{manifest}");
    let here = format!("{:?}", checkout().join("framework"));
    let profile = if manifest.contains("[profile") { String::new() } else { profile() };
    let manifest = format!("{}\n{profile}\n[workspace]\n", manifest.replace(there, &here));
    write(&directory.join("Cargo.toml"), &manifest);
    write(&directory.join("src/main.rs"), source);
    fs::copy(checkout().join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    let target = directory.ancestors().nth(3).unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&directory).args(["build", "--quiet", "--offline", "--target-dir"]).arg(target);
    assert!(cargo.status().unwrap().success(), "the README's job {name} does not build");
    target.join("debug").join(name)
}

/// Runs a binary to its end in an empty directory, which must do: what it printed.
fn printed(binary: &Path, arguments: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary);
    let run = command.args(arguments).current_dir(&directory).env_clear().output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn the_first_job_prints_what_the_readme_says() {
    let output = printed(&job("clicks"), &[]);
    let lines: BTreeSet<_> = output.lines().collect();
    assert_eq!((output.lines().count(), lines.len()), (30, 30), "{output}");
    let shown = blocks("text").remove(0);
    assert!(shown.lines().count() >= 3 && shown.lines().all(|line| lines.contains(line)), "{output}");
}

#[test]
fn the_kafka_job_builds_and_shows_its_plan() {
    let plan = printed(&job("stolen-cards"), &["plan"]);
    for part in ["payments", "small-then-large", "alerts", "exactly-once"] {
        assert!(plan.contains(part), "{part} is not in the plan:\n{plan}");
    }
}
