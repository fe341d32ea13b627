use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    binary::card_alerts,
    expected::{Expected, expected},
    said::KeepsWhatWasSaid,
    waiting::wait_until,
};
use flott_cards::{
    Answers, Comparison, Output, files,
    process::{Cluster, ClusterSpec, JobProcess},
};

const SEED: u64 = 7;

/// Payments a second at most: the job takes long enough to be hurt in the middle, however fast the machine is.
const RATE: &str = "1000000";

/// A directory in which processes of `card-alerts` run without Kafka, and the answers that they should give.
pub struct Scene {
    directory: KeepsWhatWasSaid,
    payments: u64,
    settings: Vec<String>,
    expected: Arc<Expected>,
    clusters: Cell<u32>,
}

impl Scene {
    /// A job with so many payments. Checkpoints are taken often, so that much can go wrong with them.
    pub fn new(payments: u64) -> Self {
        // Not while a test measures.
        card_alerts();
        let settings = ["--checkpoint-interval", "200ms", "--parallelism", "2"];
        Self {
            directory: KeepsWhatWasSaid::new(),
            payments,
            settings: settings.map(str::to_owned).into(),
            expected: expected(payments, SEED),
            clusters: Cell::new(0),
        }
    }

    /// Adds flags for the JobManager or a local run. Of a flag that is given twice, the last one counts.
    #[must_use]
    pub fn with<const N: usize>(mut self, flags: [&str; N]) -> Self {
        self.set(flags);
        self
    }

    /// As [`Self::with`], for processes that are started later.
    pub fn set<const N: usize>(&mut self, flags: [&str; N]) {
        for flag in flags {
            let is_name = flag.starts_with("--") && flag != "--set";
            if let Some(at) = self.settings.iter().position(|given| is_name && given == flag) {
                // All flags of this list have a value, but those of parameters do not come here.
                self.settings.drain(at..at + 2);
            }
        }
        self.settings.extend(flags.map(str::to_owned));
    }

    /// Where its processes run.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where its answers go.
    pub fn output(&self) -> PathBuf {
        self.directory().join("output")
    }

    /// Where its JobManagers keep checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.directory().join("checkpoints")
    }

    /// The checkpoint directory as a setting.
    pub fn checkpoint_url(&self) -> String {
        format!("file://{}", self.checkpoints().display())
    }

    /// Settings and job parameters.
    pub fn arguments(&self) -> Vec<String> {
        let (payments, seed) = (self.payments.to_string(), SEED.to_string());
        let output = self.output().display().to_string();
        let parameters =
            ["--embedded", "--generate", &payments, "--seed", &seed, "--rate", RATE, "--output", &output];
        self.settings.iter().cloned().chain(parameters.map(str::to_owned)).collect()
    }

    /// A JobManager and so many TaskManagers of one slot. All clusters of a scene share the checkpoint directory.
    pub fn cluster(&self, taskmanagers: usize) -> Cluster {
        self.clusters.set(self.clusters.get() + 1);
        let directory = self.directory().join(format!("cluster-{}", self.clusters.get()));
        fs::create_dir_all(&directory).unwrap();
        fs::create_dir_all(self.checkpoints()).unwrap();
        std::os::unix::fs::symlink(self.checkpoints(), directory.join("checkpoints")).unwrap();
        let spec = ClusterSpec {
            binary: card_alerts().to_owned(),
            directory,
            arguments: self.arguments(),
            secret_file: None,
        };
        Cluster::start(spec, taskmanagers).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A process with these flags and nothing else.
    pub fn start(&self, name: &str, flags: &[&str]) -> JobProcess {
        JobProcess::start(card_alerts(), self.directory(), name, flags).unwrap()
    }

    /// A JobManager.
    pub fn jobmanager(&self, name: &str, listen: &str) -> JobProcess {
        let url = self.checkpoint_url();
        let role = ["--role", "jobmanager", "--listen", listen, "--checkpoint-dir", &url];
        let arguments = self.arguments();
        let flags: Vec<_> = role.into_iter().chain(arguments.iter().map(String::as_str)).collect();
        self.start(name, &flags)
    }

    /// A TaskManager.
    pub fn taskmanager(&self, name: &str, jobmanager: &str) -> JobProcess {
        self.start(name, &["--role", "taskmanager", "--jobmanager", jobmanager])
    }

    /// A local run that keeps checkpoints.
    pub fn local(&self, name: &str) -> JobProcess {
        let url = self.checkpoint_url();
        let arguments = self.arguments();
        let flags: Vec<_> =
            ["--checkpoint-dir", &url].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        self.start(name, &flags)
    }

    /// The share of all totals that is written, visible or not. Goes back when the job does.
    pub fn progress(&self) -> f64 {
        files::bytes_written(&self.output(), Output::Totals) as f64 / self.expected.totals_bytes as f64
    }

    /// Waits until this share of all totals is written.
    pub fn reach(&self, share: f64) {
        wait_until(&format!("{share} of all totals"), || self.progress() >= share);
    }

    /// Waits until this share of all totals is visible.
    pub fn reach_visible(&self, share: f64) {
        let bytes = self.expected.totals_bytes as f64 * share;
        wait_until(&format!("{share} of all totals visible"), || self.visible_bytes() as f64 >= bytes);
    }

    fn visible_bytes(&self) -> u64 {
        let entries = fs::read_dir(self.output().join("totals")).into_iter().flatten().flatten();
        let parts = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("part-"));
        parts.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
    }

    /// The generation that has written last.
    pub fn generation(&self) -> u64 {
        let entries = fs::read_dir(self.output().join("totals")).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter_map(|name| generation_of(&name)).max().unwrap_or(0)
    }

    /// Waits until a later generation than this one has written its first record.
    pub fn wait_for_record_after(&self, generation: u64) -> Duration {
        wait_until("a record of a new attempt", || self.generation() > generation)
    }

    /// How the visible answers differ from the right ones.
    pub fn comparison(&self) -> Comparison {
        self.compare_with(&files::read_answers(&self.output()).unwrap())
    }

    /// How answers from elsewhere differ from the right ones.
    pub fn compare_with(&self, given: &Answers) -> Comparison {
        Comparison::new(&self.expected.answers, given)
    }

    /// Makes sure that every answer is visible exactly once, and nothing else.
    pub fn assert_right(&self) {
        let comparison = self.comparison();
        assert!(comparison.is_equal(), "{comparison}");
        let left: Vec<_> = Output::ALL
            .iter()
            .flat_map(|output| {
                fs::read_dir(self.output().join(output.name())).into_iter().flatten().flatten()
            })
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with("part-") && name != ".owner")
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

/// The generation in `.pending-{generation}-{subtask}-{sequence}` or `part-{checkpoint}-{generation}-{subtask}.jsonl`.
fn generation_of(name: &str) -> Option<u64> {
    if let Some(rest) = name.strip_prefix(".pending-") {
        return rest.split('-').next()?.parse().ok();
    }
    name.strip_prefix("part-")?.split('-').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_read_from_names_of_files() {
        assert_eq!(generation_of(".pending-3-1-7"), Some(3));
        assert_eq!(generation_of("part-12-4-0.jsonl"), Some(4));
        assert_eq!(generation_of("notes.txt"), None);
    }

    #[test]
    fn of_a_flag_that_is_given_twice_the_last_one_counts() {
        let scene = Scene::new(10).with(["--parallelism", "3", "--set", "a=1", "--set", "b=2"]);
        let expected =
            ["--checkpoint-interval", "200ms", "--parallelism", "3", "--set", "a=1", "--set", "b=2"];
        assert_eq!(scene.settings, expected);
    }
}
