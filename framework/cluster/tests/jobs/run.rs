//! Runs of a job until it is finished: each stopped somewhere, the next with another parallelism.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use flott::{Job, plumbing};
use flott_cluster::{
    ClusterSettings, JobEvent, JobLaunch, JobOutcome, JobProgress, OutcomeStatus, ProgressListener, Silent,
    StopSignal, TaskManagerOutcome, Termination, run_jobmanager, run_local, run_taskmanager,
};
use flott_core::testkit::Random;

use crate::{Tally, job::RandomJob};

/// Runs that are stopped, at most. The one after them goes on to the end.
const STOPS_MAX: u64 = 3;

type Stop = tokio::sync::mpsc::Sender<StopSignal>;

/// Sends a signal when so many checkpoints are complete, and tells where the JobManager listens.
struct Listener {
    checkpoints_left: AtomicU64,
    stop: Option<(Stop, StopSignal)>,
    address: Mutex<mpsc::Sender<String>>,
}

impl ProgressListener for Listener {
    fn on_progress(&self, _progress: &JobProgress) {}

    fn on_event(&self, event: &JobEvent) {
        if let Some((_, address)) = event.text.split_once("listens on ") {
            let _ = self.address.lock().unwrap_or_else(PoisonError::into_inner).send(address.to_owned());
        }
        // Routine is what completed checkpoints are.
        if let Some((stop, signal)) = &self.stop
            && event.is_routine
            && self.checkpoints_left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            let _ = stop.try_send(*signal);
        }
    }
}

/// One run of a job: how it is launched, who listens, and when it is stopped.
struct Run {
    launch: JobLaunch,
    listener: Arc<Listener>,
    address: mpsc::Receiver<String>,
    _stop: Stop,
}

impl Run {
    fn new(random: &mut Random, job: &RandomJob, listen: String, is_stopped: bool) -> Self {
        let settings = ClusterSettings {
            parallelism: 1 + random.below(4) as u32,
            checkpoint_dir: format!("file://{}", job.directory.path().join("checkpoints").display()),
            listen,
            ..settings()
        };
        let (stop, launch) = launch(job, settings);
        let signal = *random.pick(&[StopSignal::Interrupt, StopSignal::Terminate]);
        let (sender, address) = mpsc::channel();
        let listener = Arc::new(Listener {
            checkpoints_left: AtomicU64::new(1 + random.below(4)),
            stop: is_stopped.then(|| (stop.clone(), signal)),
            address: Mutex::new(sender),
        });
        Self { launch, listener, address, _stop: stop }
    }
}

fn settings() -> ClusterSettings {
    ClusterSettings {
        checkpoint_interval: Duration::from_millis(50),
        heartbeat_interval: Duration::from_millis(500),
        heartbeat_timeout: Duration::from_secs(20),
        restart_initial_delay: Duration::from_millis(10),
        jobmanager_timeout: Duration::from_secs(60),
        ..ClusterSettings::default()
    }
}

fn launch(job: &RandomJob, settings: ClusterSettings) -> (Stop, JobLaunch) {
    let (stop, terminate) = Termination::by_hand();
    let declare = job.declaration();
    let launch = JobLaunch {
        job_name: "random".into(),
        build_id: "test".into(),
        parameters: serde_json::Value::Null,
        settings,
        build_program: Arc::new(move |_, _| {
            let mut job = Job::new();
            declare(&mut job);
            plumbing::finish(job)
        }),
        terminate,
    };
    (stop, launch)
}

/// Counts a run. Returns `true` if it was the last.
fn is_finished(outcome: &JobOutcome, tally: &mut Tally) -> bool {
    tally.runs += 1;
    tally.restarts += outcome.summary.restarts;
    match outcome.status {
        OutcomeStatus::Finished => true,
        OutcomeStatus::Suspended => false,
        _ => panic!("{:?}: {:?}", outcome.status, outcome.error),
    }
}

pub(crate) fn in_one_process(random: &mut Random, job: &RandomJob) -> Tally {
    let mut tally = Tally { records: job.records(), ..Tally::default() };
    loop {
        let listen = ClusterSettings::default().listen;
        let run = Run::new(random, job, listen, tally.runs < STOPS_MAX);
        if is_finished(&run_local(run.launch, run.listener), &mut tally) {
            return tally;
        }
    }
}

/// A JobManager and TaskManagers of one slot each, all threads of this process.
pub(crate) fn over_tcp(random: &mut Random, job: &RandomJob) -> Tally {
    let mut tally = Tally { records: job.records(), ..Tally::default() };
    let mut members: Vec<(Stop, JoinHandle<TaskManagerOutcome>)> = Vec::new();
    let mut listen = "127.0.0.1:0".to_owned();
    loop {
        let run = Run::new(random, job, listen, tally.runs < STOPS_MAX);
        let parallelism = run.launch.settings.parallelism as usize;
        let jobmanager = thread::spawn(move || run_jobmanager(run.launch, run.listener));
        listen = match run.address.recv_timeout(Duration::from_secs(30)) {
            Ok(address) => address,
            Err(error) => panic!("{error}: {:?}", jobmanager.join().unwrap()),
        };
        // Those of the run before come back by themselves.
        while members.len() < parallelism {
            members.push(taskmanager(job, &listen));
        }
        if is_finished(&jobmanager.join().unwrap(), &mut tally) {
            break;
        }
    }
    for (_stop, member) in members {
        let outcome = member.join().unwrap();
        assert_eq!(outcome.exit_code(), 0, "{outcome:?}");
    }
    tally
}

fn taskmanager(job: &RandomJob, jobmanager: &str) -> (Stop, JoinHandle<TaskManagerOutcome>) {
    let settings = ClusterSettings { jobmanager: jobmanager.into(), slots: 1, ..settings() };
    let (stop, launch) = launch(job, settings);
    (stop, thread::spawn(move || run_taskmanager(launch, Arc::new(Silent))))
}
