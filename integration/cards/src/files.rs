//! The answers of an embedded run, in files.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use crate::{
    answers::{Answers, Output},
    error::{Result, Trying},
};

/// Reads all finished files under the directory that was given to the job as `--output`.
///
/// # Errors
/// When a file cannot be read or has something else than answers in it.
pub fn read_answers(directory: &Path) -> Result<Answers> {
    let mut answers = Answers::default();
    for output in Output::ALL {
        for path in parts(&directory.join(output.name()))? {
            let file = File::open(&path).trying(|| format!("cannot open {}", path.display()))?;
            for line in BufReader::new(file).split(b'\n') {
                let line = line.trying(|| format!("cannot read {}", path.display()))?;
                answers.add(output, &line)?;
            }
        }
    }
    Ok(answers)
}

/// Bytes written to an output so far, finished or not.
#[must_use]
pub fn bytes_written(directory: &Path, output: Output) -> u64 {
    let entries = fs::read_dir(directory.join(output.name())).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Finished files in the order in which they were written.
fn parts(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.exists() {
        // Nothing was ever written to this output.
        return Ok(Vec::new());
    }
    let mut parts = Vec::new();
    for entry in fs::read_dir(directory).trying(|| format!("cannot read {}", directory.display()))? {
        let path = entry.trying(|| format!("cannot read {}", directory.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(order) = part_order(&name) {
            parts.push((order, path));
        }
    }
    parts.sort();
    Ok(parts.into_iter().map(|(_, path)| path).collect())
}

/// Checkpoint, generation and subtask in the name `part-{checkpoint}-{generation}-{subtask}.jsonl`.
fn part_order(name: &str) -> Option<Vec<u64>> {
    let numbers = name.strip_prefix("part-")?.strip_suffix(".jsonl")?;
    numbers.split('-').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_files_are_read_in_the_order_of_their_checkpoints() {
        let directory = tempfile::tempdir().unwrap();
        let totals = directory.path().join("totals");
        fs::create_dir(&totals).unwrap();
        let total = |n: u64| format!("{{\"card\":1,\"n\":{n},\"cents\":5}}\n");
        fs::write(totals.join("part-10-1-0.jsonl"), total(3)).unwrap();
        fs::write(totals.join("part-9-1-0.jsonl"), total(1) + &total(2)).unwrap();
        fs::write(totals.join(".pending-1-0-7"), total(4)).unwrap();
        let answers = read_answers(directory.path()).unwrap();
        assert_eq!(answers.totals.iter().map(|total| total.n).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(bytes_written(directory.path(), Output::Totals), 4 * total(1).len() as u64);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("alerts")).unwrap();
        fs::write(directory.path().join("alerts/part-1-1-0.jsonl"), "{\"card\":1}\n").unwrap();
        let error = read_answers(directory.path()).unwrap_err().to_string();
        assert!(error.contains("not a record of alerts"), "{error}");
    }
}
