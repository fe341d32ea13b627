//! One run of one engine: its processes, what they report, what that adds up to.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child as Running, Command},
    time::Duration,
};

use xtask::clock::{Stopwatch, pause};

use crate::{
    error::{Error, Result, Trying},
    measure::{ProcessReport, now_ns},
    process::{Child, cpu_s_of_children, peak_rss_kib},
    workload::{Engine, Workload},
};

/// No run takes so long.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a run is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// The work.
    pub(crate) workload: Workload,
    /// Who does it.
    pub(crate) engine: Engine,
    /// On how many cores.
    pub(crate) cores: u32,
    /// Records that go in.
    pub(crate) records: u64,
}

/// What came out of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// From the beginning of work to the last record.
    pub(crate) seconds: f64,
    /// Records that came out.
    pub(crate) records: u64,
    /// Sum of their checksums.
    pub(crate) checksum: u64,
    /// Peak memory of the largest process.
    pub(crate) rss_mb: f64,
    /// Processor time of all processes.
    pub(crate) cpu_s: f64,
}

/// The processes of a run, in a directory of their own. Those that still run are killed in the end.
pub(crate) struct Processes {
    directory: tempfile::TempDir,
    cores: u32,
    running: Vec<Process>,
}

/// One of them.
struct Process {
    what: String,
    running: Running,
    report: PathBuf,
}

impl Processes {
    /// None yet.
    pub(crate) fn new(cores: u32) -> Result<Self> {
        let directory = tempfile::tempdir().trying(|| "cannot make a temporary directory".into())?;
        Ok(Self { directory, cores, running: Vec::new() })
    }

    /// Where they may leave things.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts one.
    pub(crate) fn start(&mut self, child: Child, arguments: &[String]) -> Result<u32> {
        let report = self.directory().join(format!("report-{}.json", self.running.len()));
        let mut command = child.command(self.cores, Some(&report))?;
        // A settings file of the place where the benchmark was started is not meant for it.
        command.args(arguments).current_dir(self.directory());
        self.spawn(&mut command, arguments.join(" "), report)
    }

    fn spawn(&mut self, command: &mut Command, what: String, report: PathBuf) -> Result<u32> {
        let log =
            std::fs::File::create(report.with_extension("log")).trying(|| "cannot make a log".into())?;
        let running = command.stderr(log).spawn().trying(|| format!("cannot start {what}"))?;
        let id = running.id();
        self.running.push(Process { what, running, report });
        Ok(id)
    }

    /// Waits for all of them and reads what they report.
    pub(crate) fn finish(mut self) -> Result<Vec<ProcessReport>> {
        let read = |process: &mut Process| {
            process.wait(&mut |_| {})?;
            let text =
                std::fs::read(&process.report).trying(|| format!("{} has not reported", process.what))?;
            let report = serde_json::from_slice(&text).map_err(std::io::Error::from);
            report.trying(|| format!("the report of {} is damaged", process.what))
        };
        self.running.iter_mut().map(read).collect()
    }

    /// Waits for all of them, from the outside: time is that of the whole processes, and what they report does not
    /// count.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn watch(mut self, started_ns: u64) -> Result<Outcome> {
        let cpu_s_before = cpu_s_of_children();
        let mut rss_kib = 0;
        for process in &mut self.running {
            process.wait(&mut |id| rss_kib = rss_kib.max(peak_rss_kib(id).unwrap_or_default()))?;
        }
        Ok(Outcome {
            seconds: now_ns().saturating_sub(started_ns) as f64 / 1e9,
            records: 0,
            checksum: 0,
            rss_mb: rss_kib as f64 * 1024.0 / 1e6,
            cpu_s: cpu_s_of_children() - cpu_s_before,
        })
    }
}

impl Process {
    /// Waits for its end and looks at it every now and then.
    fn wait(&mut self, look: &mut dyn FnMut(&str)) -> Result<()> {
        let id = self.running.id().to_string();
        let watch = Stopwatch::start();
        let status = loop {
            look(&id);
            match self.running.try_wait().trying(|| format!("cannot wait for {}", self.what))? {
                Some(status) => break status,
                None if watch.elapsed() > PATIENCE => {
                    let seconds = PATIENCE.as_secs();
                    let said = self.said();
                    return Err(Error::Different(format!(
                        "{} is not done after {seconds} s\n{said}",
                        self.what
                    )));
                }
                None => pause(LOOK_EVERY),
            }
        };
        if status.success() {
            return Ok(());
        }
        Err(Error::Process { what: self.what.clone(), status, output: self.said() })
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.report.with_extension("log")).unwrap_or_default()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for process in &mut self.running {
            let _ = process.running.kill();
            let _ = process.running.wait();
        }
    }
}

impl Spec {
    /// Runs it.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let mut processes = Processes::new(self.cores)?;
        match (self.engine.is_flott(), self.workload) {
            (true, Workload::TwoProcesses) => self.start_cluster(&mut processes)?,
            (true, _) => self.start_local(&mut processes)?,
            (false, Workload::TwoProcesses) => {
                let port = free_port()?.to_string();
                for peer in ["0", "1"] {
                    self.start_hand(&mut processes, &["--peer", peer, "--port", &port])?;
                }
            }
            (false, _) => self.start_hand(&mut processes, &[])?,
        }
        Outcome::of(&processes.finish()?)
    }

    fn start_hand(&self, processes: &mut Processes, more: &[&str]) -> Result<()> {
        let mut arguments = self.work();
        arguments.extend(["--cores".into(), self.cores.to_string()]);
        arguments.extend(more.iter().map(|argument| (*argument).to_string()));
        processes.start(Child::Hand, &arguments).map(|_| ())
    }

    fn start_local(&self, processes: &mut Processes) -> Result<()> {
        let mut arguments = self.job_arguments(processes);
        arguments.extend(["--role".into(), "local".into()]);
        processes.start(Child::Job, &arguments).map(|_| ())
    }

    /// A JobManager and two TaskManagers of one slot.
    fn start_cluster(&self, processes: &mut Processes) -> Result<()> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let security = if self.engine == Engine::FlottTls {
            let secret = flott_cards::process::make_secret(processes.directory())?;
            vec!["--secret-file".into(), secret.display().to_string()]
        } else {
            Vec::new()
        };
        let mut arguments = self.job_arguments(processes);
        arguments.extend(["--role".into(), "jobmanager".into(), "--listen".into(), address.clone()]);
        arguments.extend(security.iter().cloned());
        processes.start(Child::Job, &arguments)?;
        for _ in 0..2 {
            let role = ["--role", "taskmanager", "--slots", "1", "--jobmanager", &address];
            let arguments = role.iter().map(ToString::to_string).chain(security.iter().cloned());
            processes.start(Child::Job, &arguments.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    pub(crate) fn work(&self) -> Vec<String> {
        let records = self.records.to_string();
        ["--workload", self.workload.name(), "--records", &records].map(String::from).into()
    }

    pub(crate) fn job_arguments(&self, processes: &Processes) -> Vec<String> {
        let mut arguments = self.work();
        let checkpoints = format!("file://{}", processes.directory().join("checkpoints").display());
        let settings = [
            ["--engine", self.engine.name()],
            ["--parallelism", &self.cores.to_string()],
            ["--checkpoint-dir", &checkpoints],
            ["--checkpoint-interval", "1s"],
        ];
        arguments.extend(settings.iter().flatten().map(|argument| (*argument).to_string()));
        arguments
    }
}

impl Outcome {
    /// Puts together what the processes of a run report.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn of(reports: &[ProcessReport]) -> Result<Self> {
        let started = reports.iter().filter_map(|report| report.started_ns).min();
        let started = started.ok_or_else(|| Error::Different("no process did any work".into()))?;
        let ended = reports.iter().map(|report| report.ended_ns).max().unwrap_or_default();
        let rss_kib = reports.iter().map(|report| report.rss_kib).max().unwrap_or_default();
        Ok(Self {
            seconds: ended.saturating_sub(started) as f64 / 1e9,
            records: reports.iter().map(|report| report.records).sum(),
            checksum: reports.iter().fold(0, |sum, report| sum.wrapping_add(report.checksum)),
            rss_mb: rss_kib as f64 * 1024.0 / 1e6,
            cpu_s: reports.iter().map(|report| report.cpu_s).sum(),
        })
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    Ok(address.trying(|| "there is no free port".into())?.port())
}
