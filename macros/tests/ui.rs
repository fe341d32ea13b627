//! What the macros accept, and what they say to what they do not accept.
//!
//! `TRYBUILD=overwrite cargo test -p flott-macros --test ui` writes the messages anew. They are those of one compiler version;
//! look at each before it is committed: it is what a user will see.

#[test]
fn macros_accept_and_refuse() {
    let cases = trybuild::TestCases::new();
    for suite in ["record", "operator", "main"] {
        cases.pass(format!("tests/ui/{suite}/pass/*.rs"));
        cases.compile_fail(format!("tests/ui/{suite}/fail/*.rs"));
    }
}
