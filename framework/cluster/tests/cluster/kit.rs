//! A job whose result shows every lost and every repeated record, and ways to run it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use flott::{Job, plumbing, prelude::*};
use flott_cluster::{
    ClusterSettings, JobEvent, JobLaunch, JobOutcome, JobProgress, OutcomeStatus, ProgressListener,
    StopSignal, TaskManagerOutcome, Termination, run_jobmanager, run_taskmanager,
};
use flott_core::{Clock, SystemClock};
use serde_json::json;

pub(crate) const KEYS: u64 = 97;

/// Numbers the records of each key: 1, 2, 3 … without gap or repeat.
#[derive(Operator)]
pub(crate) struct Counting {
    #[state]
    seen: ValueState<u64>,
}

#[operator]
impl Counting {
    fn process(&mut self, _number: u64, key: &u64, out: &mut Output<(u64, u64)>) -> Result<()> {
        let seen = self.seen.get_or_insert_with(|| 0);
        *seen += 1;
        out.emit((*key, *seen));
        Ok(())
    }
}

/// What the job is asked to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Params {
    pub(crate) output: PathBuf,
    pub(crate) records: u64,
    /// Records per second.
    pub(crate) rate: f64,
    /// A record that fails its task while this file does not exist.
    pub(crate) fail_at: Option<(u64, PathBuf)>,
    /// A record whose processing creates this file and never ends.
    pub(crate) hang_at: Option<(u64, PathBuf)>,
}

impl Params {
    pub(crate) fn new(directory: &Path, records: u64, rate: f64) -> Self {
        Self { output: directory.join("out"), records, rate, fail_at: None, hang_at: None }
    }
}

pub(crate) fn declare(job: &mut Job, params: &Params) {
    let (fail_at, hang_at) = (params.fail_at.clone(), params.hang_at.clone());
    job.source("numbers", GenerateSource::bounded(params.records, |n| n).rate(params.rate))
        .try_map(move |n| {
            if let Some((at, once)) = &fail_at
                && n == *at
                && fs::OpenOptions::new().write(true).create_new(true).open(once).is_ok()
            {
                return Err(Error::user("asked to fail"));
            }
            if let Some((at, reached)) = &hang_at
                && n == *at
            {
                fs::write(reached, "").unwrap();
                loop {
                    thread::park();
                }
            }
            Ok(n)
        })
        .key_by(|n| n % KEYS)
        .process("counting", Counting::new())
        .sink("out", FileSink::json_lines(params.output.clone()));
}

/// Fails unless the output is complete, without a repeat.
pub(crate) fn assert_exact(params: &Params) {
    let mut seen: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for entry in fs::read_dir(params.output.join("out")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            for line in fs::read_to_string(path).unwrap().lines() {
                let (key, number): (u64, u64) = serde_json::from_str(line).unwrap();
                seen.entry(key).or_default().push(number);
            }
        }
    }
    for key in 0..KEYS {
        let expected = (0..params.records).filter(|n| n % KEYS == key).count() as u64;
        let mut numbers = seen.remove(&key).unwrap_or_default();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(1..=expected), "key {key}: {} of {expected}", numbers.len());
    }
    assert!(seen.is_empty(), "keys that were never sent: {seen:?}");
}

pub(crate) fn settings() -> ClusterSettings {
    ClusterSettings {
        checkpoint_interval: Duration::from_millis(100),
        heartbeat_interval: Duration::from_millis(200),
        heartbeat_timeout: Duration::from_millis(1500),
        restart_initial_delay: Duration::from_millis(50),
        jobmanager_timeout: Duration::from_secs(20),
        ..ClusterSettings::default()
    }
}

pub(crate) type Stop = tokio::sync::mpsc::Sender<StopSignal>;

pub(crate) fn launch(settings: ClusterSettings, params: &Params) -> (Stop, JobLaunch) {
    let (stop, terminate) = Termination::by_hand();
    let launch = JobLaunch {
        job_name: "counting".into(),
        build_id: "test".into(),
        parameters: json!(params),
        settings,
        build_program: Arc::new(|parameters, _| {
            let params: Params = serde_json::from_value(parameters.clone())?;
            let mut job = Job::new();
            declare(&mut job, &params);
            plumbing::finish(job)
        }),
        terminate,
    };
    (stop, launch)
}

/// Keeps what is told, and lets tests wait for it.
#[derive(Default)]
pub(crate) struct Told {
    told: Mutex<Option<mpsc::Sender<String>>>,
}

impl ProgressListener for Told {
    fn on_progress(&self, _progress: &JobProgress) {}

    fn on_event(&self, event: &JobEvent) {
        if std::env::var_os("FLOTT_TEST_VERBOSE").is_some() {
            eprintln!("{:?} {}", SystemClock.now().since_start(), event.text);
        }
        if let Some(told) = &*self.told.lock().unwrap() {
            let _ = told.send(event.text.clone());
        }
    }
}

impl Told {
    pub(crate) fn new() -> (Arc<Self>, Lines) {
        let (sender, receiver) = mpsc::channel();
        let told = Self { told: Mutex::new(Some(sender)) };
        (Arc::new(told), Lines(receiver))
    }
}

/// The lines as they come.
pub(crate) struct Lines(mpsc::Receiver<String>);

impl Lines {
    /// The next line that holds `text`.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        loop {
            let line = self.0.recv_timeout(Duration::from_secs(30));
            let line = line.unwrap_or_else(|_| panic!("nobody said {text:?} within 30 s"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// What else was said so far.
    pub(crate) fn rest(&self) -> Vec<String> {
        self.0.try_iter().collect()
    }
}

/// A JobManager on a thread of its own.
pub(crate) struct JobManagerThread {
    pub(crate) stop: Stop,
    pub(crate) lines: Lines,
    pub(crate) address: String,
    thread: JoinHandle<JobOutcome>,
}

impl JobManagerThread {
    pub(crate) fn start(settings: ClusterSettings, params: &Params) -> Self {
        Self::start_changed(settings, params, |_| {})
    }

    pub(crate) fn start_changed(
        settings: ClusterSettings,
        params: &Params,
        change: impl FnOnce(&mut JobLaunch),
    ) -> Self {
        let (stop, mut launch) = launch(settings, params);
        change(&mut launch);
        let (told, lines) = Told::new();
        let thread = thread::spawn(move || run_jobmanager(launch, told));
        let line = lines.wait_for("listens on ");
        let address = line.rsplit(' ').next().unwrap().to_owned();
        Self { stop, lines, address, thread }
    }

    pub(crate) fn end(self) -> JobOutcome {
        self.thread.join().unwrap()
    }
}

/// A TaskManager on a thread of its own.
pub(crate) struct TaskManagerThread {
    pub(crate) stop: Stop,
    thread: JoinHandle<TaskManagerOutcome>,
}

impl TaskManagerThread {
    pub(crate) fn start(jobmanager: &str, slots: u32) -> Self {
        Self::start_as(jobmanager, slots, "test")
    }

    /// One whose `main` declares another job than the JobManager's.
    pub(crate) fn start_with_another_plan(jobmanager: &str) -> Self {
        Self::start_changed(jobmanager, 1, |launch| {
            launch.build_program = Arc::new(|_, _| {
                let mut job = Job::new();
                let numbers = job.source("figures", CollectionSource::new(0..3u64));
                numbers.sink("out", DiscardSink::new());
                plumbing::finish(job)
            });
        })
    }

    pub(crate) fn start_as(jobmanager: &str, slots: u32, build_id: &str) -> Self {
        Self::start_changed(jobmanager, slots, |launch| launch.build_id = build_id.into())
    }

    pub(crate) fn start_changed(jobmanager: &str, slots: u32, change: impl FnOnce(&mut JobLaunch)) -> Self {
        let settings = ClusterSettings { jobmanager: jobmanager.into(), slots, ..settings() };
        let (stop, mut launch) = launch(settings, &Params::new(Path::new("unused"), 0, 0.0));
        launch.parameters = serde_json::Value::Null;
        change(&mut launch);
        let thread = thread::spawn(move || run_taskmanager(launch, Arc::new(flott_cluster::Silent)));
        Self { stop, thread }
    }

    pub(crate) fn end(self) -> TaskManagerOutcome {
        self.thread.join().unwrap()
    }
}

pub(crate) fn assert_finished(outcome: &JobOutcome) {
    assert_eq!(outcome.status, OutcomeStatus::Finished, "{:?}", outcome.error);
}

pub(crate) fn in_directory(directory: &Path) -> ClusterSettings {
    let checkpoint_dir = format!("file://{}", directory.join("checkpoints").display());
    ClusterSettings { checkpoint_dir, listen: "127.0.0.1:0".into(), ..settings() }
}
