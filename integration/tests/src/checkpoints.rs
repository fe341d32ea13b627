//! Reads what lies in a checkpoint directory.

use std::{collections::BTreeSet, fs, path::Path};

use flott::connectors::kafka::settlement::Committable;
use serde_json::Value;

/// The newest checkpoint that the journal knows, and its manifest.
pub fn newest_checkpoint(checkpoints: &Path) -> (u64, Value) {
    let names = fs::read_dir(checkpoints.join("journal")).unwrap().map(|entry| entry.unwrap().file_name());
    let names: BTreeSet<_> = names.filter(|name| name.to_string_lossy().ends_with(".json")).collect();
    let newest = checkpoints.join("journal").join(names.last().unwrap());
    let entry: Value = serde_json::from_slice(&fs::read(newest).unwrap()).unwrap();
    let record: Value = serde_json::from_str(entry["record"].as_str().unwrap()).unwrap();
    let checkpoint = record["checkpoints"].as_array().unwrap().last().unwrap();
    let manifest = checkpoints.join(checkpoint["directory"].as_str().unwrap()).join("manifest.json");
    let manifest = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    (checkpoint["checkpoint"].as_u64().unwrap(), manifest)
}

/// The transactions that a manifest lists, of all sinks.
pub fn committables(manifest: &Value) -> Vec<Committable> {
    let operators = manifest["operators"].as_array().unwrap().iter();
    let lists = operators.flat_map(|operator| operator["lists"].as_array().unwrap());
    let lists = lists.filter(|list| list["name"] == "committables");
    let items = lists.flat_map(|list| list["items"].as_array().unwrap());
    let bytes = |item: &Value| -> Vec<u8> {
        let text = item.as_str().unwrap();
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    items.map(|item| Committable::decode(&bytes(item)).unwrap()).collect()
}
