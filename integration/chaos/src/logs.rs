//! Facts that the processes of the job have written to standard error.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

const LEADING: &str = "leading in epoch ";

/// All that the processes wrote, by name.
#[derive(Debug)]
pub(crate) struct Logs(BTreeMap<String, String>);

impl Logs {
    /// Reads the `*.err` files of a directory.
    pub(crate) fn read(directory: &Path) -> Self {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let texts = entries.filter_map(|entry| {
            let path = entry.path();
            let name = path.file_stem().filter(|_| path.extension().is_some_and(|end| end == "err"))?;
            let text = fs::read(&path).ok()?;
            Some((name.to_string_lossy().into_owned(), String::from_utf8_lossy(&text).into_owned()))
        });
        Self(texts.collect())
    }

    /// Epochs in which more than one process has led, with their names.
    pub(crate) fn led_twice(&self) -> BTreeMap<u64, BTreeSet<String>> {
        let mut leaders: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for (name, text) in &self.0 {
            for epoch in epochs(text) {
                leaders.entry(epoch).or_default().insert(name.clone());
            }
        }
        leaders.retain(|_, names| names.len() > 1);
        leaders
    }

    /// Records that the job has reported as lost.
    pub(crate) fn lost_records(&self) -> u64 {
        self.0.values().map(|text| lost_records(text)).sum()
    }
}

fn epochs(text: &str) -> impl Iterator<Item = u64> {
    let numbers = text.lines().filter_map(|line| line.split_once(LEADING)?.1.split([';', ',', ' ']).next());
    numbers.filter_map(|number| number.parse().ok())
}

/// The numbers in `output of checkpoint 7 is lost: 123 records in 2 transactions`.
fn lost_records(text: &str) -> u64 {
    let reports = text.lines().filter_map(|line| line.split_once(" lost: ")?.1.split_once(" records in "));
    reports.filter_map(|(before, _)| before.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_one_epoch_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("a.err", "x\nleading in epoch 1; no checkpoint yet\n");
        write("b.err", "leading in epoch 2; newest checkpoint 7\nleading in epoch 2; again\n");
        assert!(Logs::read(directory.path()).led_twice().is_empty());
        write("c.err", "leading in epoch 1; no checkpoint yet\n");
        write("d.out", "leading in epoch 2; no log\n");
        let names = BTreeSet::from(["a".to_owned(), "c".to_owned()]);
        assert_eq!(Logs::read(directory.path()).led_twice(), BTreeMap::from([(1, names)]));
    }

    #[test]
    fn reported_losses_are_added_up() {
        let text = "error: sink totals: output of checkpoint 7 is lost: 120 records in 2 transactions that …\n\
                    error: sink alerts: output of checkpoint 7 is lost: 3 records in 1 transactions that …\n";
        assert_eq!(lost_records(text), 123);
        let doubt = "output of checkpoint 2 may be lost: nobody can tell about 5 records in 1 transactions";
        assert_eq!(lost_records(doubt), 5);
        assert_eq!(lost_records("error: something else"), 0);
    }
}
