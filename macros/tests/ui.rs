//! What the macros and the typed API accept, and what the compiler says to what they do not accept.
//!
//! `TRYBUILD=overwrite cargo test -p flott-macros --test ui` writes the messages anew. Look at each before it is committed: it
//! is what a user will see.
#![expect(clippy::disallowed_types, reason = "only the compiler knows its version")]

use std::{io::Write, process::Command};

/// The compiler that the messages were recorded with. Each has its own words, so that another one is not compared.
const RECORDED_WITH: &str = "rustc 1.95.";

#[test]
fn macros_accept_and_refuse() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().unwrap().stdout;
    let version = String::from_utf8_lossy(&version).trim().to_owned();
    let is_comparable = version.starts_with(RECORDED_WITH);
    if !is_comparable {
        // Not by `println!`, which nobody sees of a test that passes.
        let stdout = &mut std::io::stdout();
        writeln!(
            stdout,
            "not compared: what the compiler refuses; recorded with {RECORDED_WITH}x, not {version}"
        )
        .unwrap();
    }
    let cases = trybuild::TestCases::new();
    for suite in ["record", "operator", "main", "api"] {
        cases.pass(format!("tests/ui/{suite}/pass/*.rs"));
    }
    for suite in ["record", "operator", "main", "api"].iter().filter(|_| is_comparable) {
        cases.compile_fail(format!("tests/ui/{suite}/fail/*.rs"));
    }
}
