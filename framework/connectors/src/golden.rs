//! Golden files: what an earlier Flott wrote and every later one reads.

/// The golden file of this name. `written` is what this binary writes for the same value: it may differ from the file only
/// by fields that were appended behind it.
///
/// To start a new format, run the test twice: the first run writes the missing file and fails.
pub(crate) fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if !std::path::Path::new(&path).exists() {
        std::fs::write(&path, written).unwrap();
        panic!("{path} was missing and has been written");
    }
    let golden = std::fs::read(&path).unwrap();
    assert!(written.starts_with(&golden), "{name}: fields of a format are appended, never changed");
    golden
}
