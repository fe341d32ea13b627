//! The rules of the house that no compiler checks: arrows between crates, where heavy dependencies may sit, which lints
//! pure crates are under, and what no source file may contain.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use xtask::cache::checkout;

/// Every crate of the product and the crates of the product it may use. The façade names what it composes.
const ARROWS: &[(&str, &[&str])] = &[
    ("flott-core", &[]),
    ("flott-plan", &["flott-core"]),
    ("flott-control", &["flott-core"]),
    ("flott-operators", &["flott-core"]),
    ("flott-state", &["flott-core"]),
    ("flott-runtime", &["flott-core", "flott-plan"]),
    ("flott-connectors", &["flott-core"]),
    ("flott-cluster", &["flott-control", "flott-runtime", "flott-state", "flott-plan", "flott-core"]),
    ("flott-macros", &[]),
    (
        "flott",
        &[
            "flott-core",
            "flott-plan",
            "flott-control",
            "flott-operators",
            "flott-state",
            "flott-runtime",
            "flott-connectors",
            "flott-cluster",
            "flott-macros",
        ],
    ),
];

/// All that an example or a template sees.
const FACADE: &[&str] = &["flott"];

/// These decide and compute; waiting and I/O are their callers' business.
const PURE: &[&str] = &["flott-core", "flott-plan", "flott-control", "flott-operators", "flott-macros"];
const IMPURE_DEPENDENCIES: &[&str] = &["tokio", "tokio-rustls", "object_store", "mio", "async-trait", "rand"];

/// A native dependency that takes minutes to build, and the one crate that may have it, behind a feature.
const HEAVY: &[(&str, &str)] = &[("rdkafka", "flott-connectors"), ("rocksdb", "flott-state")];

/// The crates that may hold unsafe code, in one file each; all others forbid it.
const UNSAFE: &[&str] = &["flott-connectors", "flott-state"];

const FILE_LINES_MAX: usize = 1200;

#[test]
fn arrows_between_crates_are_those_of_the_table() {
    assert_none(&arrow_faults(&packages()));
}

#[test]
fn a_new_arrow_is_seen() {
    let using = |place: &str, name: &str, used: &str, is_dev| Package {
        name: name.to_owned(),
        directory: checkout().join(place),
        dependencies: vec![Dependency {
            name: used.to_owned(),
            is_internal: true,
            is_dev,
            is_optional: false,
        }],
    };
    let faults = |package| arrow_faults(&[package]).len();
    assert_eq!(faults(using("framework/runtime", "flott-runtime", "flott-plan", false)), 0);
    assert_eq!(faults(using("framework/runtime", "flott-runtime", "flott-state", false)), 1);
    assert_eq!(faults(using("macros", "flott-macros", "flott", true)), 0);
    assert_eq!(faults(using("macros", "flott-macros", "flott", false)), 1);
    assert_eq!(faults(using("framework/common", "flott-common", "flott-core", false)), 1);
    assert_eq!(faults(using("examples/some-job", "some-job", "flott", false)), 0);
    assert_eq!(faults(using("examples/some-job", "some-job", "flott-core", false)), 1);
    assert_eq!(faults(using("integration/sim", "flott-sim", "flott-control", false)), 0);
}

fn arrow_faults(packages: &[Package]) -> Vec<String> {
    let mut faults = Vec::new();
    for package in packages {
        let allowed = match package.place() {
            Place::Product => match ARROWS.iter().find(|(name, _)| *name == package.name) {
                Some((_, allowed)) => *allowed,
                None => {
                    faults.push(format!(
                        "{} is not in the table of crates: give its code to a crate that is there, or write a decision \
                         record for a new crate and add it to ARROWS",
                        package.name
                    ));
                    continue;
                }
            },
            Place::Job => FACADE,
            Place::Integration => continue,
        };
        let arrows =
            package.dependencies.iter().filter(|dependency| dependency.is_internal && !dependency.is_dev);
        for arrow in arrows.filter(|arrow| !allowed.contains(&arrow.name.as_str())) {
            faults.push(format!(
                "{} must not use {} (it may use: {}). Move the shared word down to flott-core, hand the part in as a \
                 `dyn` value from above, or, if the picture itself is wrong, write a decision record and change ARROWS",
                package.name,
                arrow.name,
                if allowed.is_empty() { "no crate of ours".to_owned() } else { allowed.join(", ") }
            ));
        }
    }
    faults
}

#[test]
fn every_crate_of_the_table_exists() {
    let packages = packages();
    let is_there = |name: &str| packages.iter().any(|package| package.name == name);
    let missing = ARROWS.iter().filter(|(name, _)| !is_there(name));
    assert_none(
        &missing.map(|(name, _)| format!("{name} is gone: remove it from ARROWS")).collect::<Vec<_>>(),
    );
}

#[test]
fn heavy_dependencies_are_optional_and_in_their_own_crate() {
    let mut faults = Vec::new();
    for package in packages().iter().filter(|package| package.place() != Place::Integration) {
        for dependency in package.dependencies.iter().filter(|dependency| !dependency.is_dev) {
            // `rdkafka-sys` and `librocksdb-sys` are as heavy as what wraps them.
            let Some((heavy, home)) = HEAVY.iter().find(|(heavy, _)| dependency.name.contains(heavy)) else {
                continue;
            };
            if package.name != *home {
                faults.push(format!(
                    "{} must not use {}: {heavy} belongs into {home}",
                    package.name, dependency.name
                ));
            } else if !dependency.is_optional {
                faults.push(format!(
                    "{} of {home} must be optional, behind a feature: a job without it must not build it",
                    dependency.name
                ));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn pure_crates_neither_wait_nor_reach_out() {
    let mut faults = Vec::new();
    for package in packages().iter().filter(|package| PURE.contains(&package.name.as_str())) {
        let normal = package.dependencies.iter().filter(|dependency| !dependency.is_dev);
        for dependency in normal.filter(|dependency| IMPURE_DEPENDENCIES.contains(&dependency.name.as_str()))
        {
            faults.push(format!(
                "{} must stay pure and cannot use {}: take facts as arguments and give actions back; flott-cluster, \
                 flott-runtime, flott-state and flott-connectors drive",
                package.name, dependency.name
            ));
        }
    }
    assert_none(&faults);
}

/// One setting of a `clippy.toml`, or one entry of a setting that is a list.
type LintRule = (String, String);

/// Clippy reads the `clippy.toml` that is nearest to a crate and no other one, so that each has to be complete.
#[test]
fn pure_crates_have_the_lint_rules_of_the_root_and_of_each_other() {
    let packages = packages();
    let pure = packages.iter().filter(|package| PURE.contains(&package.name.as_str()));
    let pure: Vec<_> =
        pure.map(|package| (package.name.as_str(), read_lint_rules(&package.directory))).collect();
    assert_eq!(pure.len(), PURE.len());
    assert_none(&lint_faults(&read_lint_rules(&checkout()), &pure));
}

#[test]
fn a_missing_lint_rule_is_seen() {
    let rules = |text: &str| lint_rules(toml::from_str(text).unwrap());
    let root = rules("allow-unwrap-in-tests = true\ndisallowed-methods = ['std::fs::read']");
    let more = "allow-unwrap-in-tests = true\ndisallowed-methods = ['std::fs::read', 'flott_core::draw']";
    let faults = |text| lint_faults(&root, &[("flott-plan", rules(more)), ("flott-core", rules(text))]).len();
    assert_eq!(faults("allow-unwrap-in-tests = true\ndisallowed-methods = ['std::fs::read']"), 0);
    assert_eq!(faults(more), 0);
    assert_eq!(faults("allow-unwrap-in-tests = false\ndisallowed-methods = ['std::fs::read']"), 2);
    assert_eq!(faults("allow-unwrap-in-tests = true\ndisallowed-types = ['std::fs::read']"), 2);
    assert_eq!(lint_faults(&root, &[("flott-plan", root.clone()), ("flott-control", rules(more))]).len(), 1);
}

fn read_lint_rules(directory: &Path) -> BTreeSet<LintRule> {
    let path = directory.join("clippy.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", shown(&path)));
    lint_rules(toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", shown(&path))))
}

fn lint_rules(settings: serde_json::Map<String, Value>) -> BTreeSet<LintRule> {
    let entries = settings.into_iter().flat_map(|(name, value)| match value {
        Value::Array(entries) => entries.into_iter().map(|entry| (name.clone(), entry.to_string())).collect(),
        value => vec![(name, value.to_string())],
    });
    entries.collect()
}

fn lint_faults(root: &BTreeSet<LintRule>, pure: &[(&str, BTreeSet<LintRule>)]) -> Vec<String> {
    let mut faults = Vec::new();
    let all: BTreeSet<_> = root.iter().chain(pure.iter().flat_map(|(_, rules)| rules)).collect();
    for (package, rules) in pure {
        // A crate may use its own items.
        let own = format!("\"{}::", package.replace('-', "_"));
        let missing = all.iter().filter(|rule| !rules.contains(**rule) && !rule.1.contains(&own));
        faults.extend(missing.map(|(name, entry)| {
            format!(
                "{package}: its clippy.toml must have the same {name} as that of the root and of the other pure crates: \
                 {entry}"
            )
        }));
    }
    faults
}

#[test]
fn unsafe_code_is_forbidden_but_in_two_crates() {
    let mut faults = Vec::new();
    for package in packages() {
        if package.place() != Place::Product || UNSAFE.contains(&package.name.as_str()) {
            continue;
        }
        let root = package.directory.join("src/lib.rs");
        let text = fs::read_to_string(&root).unwrap();
        if !text.lines().any(|line| line.trim() == "#![forbid(unsafe_code)]") {
            faults.push(format!("{}: add `#![forbid(unsafe_code)]`", shown(&root)));
        }
    }
    assert_none(&faults);
}

#[test]
fn nothing_is_left_for_later() {
    // Assembled, so that this file does not contain what it looks for.
    let banned = [
        (concat!("to", "do!("), "write it, or return an error that says so"),
        (concat!("unimple", "mented!("), "write it, or return an error that says so"),
        (concat!("#[ig", "nore"), "let the test run, or remove it"),
    ];
    let mut faults = Vec::new();
    for path in source_files() {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            for (text, instead) in banned.iter().filter(|(text, _)| line.contains(text)) {
                faults.push(format!("{}:{}: `{text}`: {instead}", shown(&path), number + 1));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn no_source_file_has_grown_out_of_hand() {
    let mut faults = Vec::new();
    for path in source_files() {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!(
                "{} has {lines} lines, more than {FILE_LINES_MAX}: it is two roles in one; split it by role or by state",
                shown(&path)
            ));
        }
    }
    assert_none(&faults);
}

struct Package {
    name: String,
    directory: PathBuf,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    is_internal: bool,
    is_dev: bool,
    is_optional: bool,
}

/// Which rules a package is under.
#[derive(PartialEq, Eq)]
enum Place {
    /// `framework/` and `macros/`.
    Product,
    /// `examples/` and `templates/`: what a user would write.
    Job,
    /// `integration/`: may look inside.
    Integration,
}

impl Package {
    fn place(&self) -> Place {
        let place = self.directory.strip_prefix(checkout()).unwrap().components().next().unwrap();
        match place.as_os_str().to_str().unwrap() {
            "framework" | "macros" => Place::Product,
            "examples" | "templates" => Place::Job,
            "integration" => Place::Integration,
            other => panic!("{} lies in {other}/, which is no place of the house", self.name),
        }
    }
}

/// The members of the workspace, and examples and templates that are workspaces of their own.
fn packages() -> Vec<Package> {
    let mut packages = read_metadata(&checkout().join("Cargo.toml"));
    for folder in ["examples", "templates"] {
        for entry in fs::read_dir(checkout().join(folder)).into_iter().flatten() {
            let directory = entry.unwrap().path();
            let manifest = directory.join("Cargo.toml");
            let is_known = packages.iter().any(|package| package.directory == directory);
            if manifest.is_file() && !is_known {
                packages.extend(read_metadata(&manifest));
            }
        }
    }
    packages
}

fn read_metadata(manifest: &Path) -> Vec<Package> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--manifest-path"])
        .arg(manifest)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().iter().map(read_package).collect()
}

fn read_package(package: &Value) -> Package {
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    Package {
        name: package["name"].as_str().unwrap().to_owned(),
        directory: manifest.parent().unwrap().to_owned(),
        dependencies: package["dependencies"].as_array().unwrap().iter().map(read_dependency).collect(),
    }
}

fn read_dependency(dependency: &Value) -> Dependency {
    Dependency {
        name: dependency["name"].as_str().unwrap().to_owned(),
        is_internal: dependency["path"].is_string(),
        is_dev: dependency["kind"].as_str() == Some("dev"),
        is_optional: dependency["optional"].as_bool().unwrap(),
    }
}

/// Every Rust file of the checkout, also those that no target includes.
fn source_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![checkout()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    assert!(files.iter().any(|file| file.ends_with(file!())), "the walk does not even find this file");
    files
}

fn shown(path: &Path) -> String {
    path.strip_prefix(checkout()).unwrap_or(path).display().to_string()
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n\n{}\n", faults.join("\n"));
}
