//! The processes of the job: who runs, who is away, who is frozen.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use flott_cards::process::JobProcess;

use crate::error::Result;

/// Two work, one stands by.
pub(crate) const TASK_MANAGERS: usize = 3;
const PARALLELISM: usize = 2;

/// Their logs tell when what happened.
const LOG: [&str; 2] = ["--set", "log=info"];

const START_PATIENCE: Duration = Duration::from_secs(30);

/// Exit code of a job that was asked to end.
pub(crate) const TERMINATED: i32 = 143;

/// Settings under which a storm of some minutes shows what else takes hours: failures are noticed in 1.5 s, and restarts
/// are not put off for long.
pub(crate) fn settings() -> Vec<String> {
    let set = [
        "heartbeat_interval=300ms",
        "heartbeat_timeout=1500ms",
        "restart_initial_delay=100ms",
        "restart_max_delay=1s",
        "restart_healthy_after=5s",
        "slot_timeout=0s",
    ];
    let fixed = ["--parallelism".to_owned(), PARALLELISM.to_string()];
    fixed.into_iter().chain(set.into_iter().flat_map(|set| ["--set".to_owned(), set.to_owned()])).collect()
}

/// A JobManager and its TaskManagers.
pub(crate) struct Crew {
    binary: PathBuf,
    directory: PathBuf,
    arguments: Vec<String>,
    address: SocketAddr,
    started: usize,
    pub(crate) jobmanager: Option<JobProcess>,
    pub(crate) taskmanagers: Vec<JobProcess>,
    said: Said,
    /// Ends that nobody asked for, in words.
    pub(crate) surprises: Vec<String>,
}

/// What the JobManagers have said, of which one is followed.
#[derive(Default)]
struct Said {
    path: PathBuf,
    position: u64,
    rest: String,
    checkpoints: u64,
    deployments: u64,
}

impl Crew {
    /// Starts all of them. `arguments` are those of the JobManager.
    pub(crate) fn start(binary: &Path, directory: &Path, arguments: Vec<String>) -> Result<Self> {
        let mut crew = Self {
            binary: binary.to_owned(),
            directory: directory.to_owned(),
            arguments,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            started: 0,
            jobmanager: None,
            taskmanagers: Vec::new(),
            said: Said::default(),
            surprises: Vec::new(),
        };
        crew.start_jobmanager()?;
        if let Some(jobmanager) = &mut crew.jobmanager {
            crew.address = jobmanager.wait_for_address(START_PATIENCE)?;
        }
        crew.fill_up()?;
        Ok(crew)
    }

    /// Starts a JobManager unless one is there: on the address of the first.
    pub(crate) fn start_jobmanager(&mut self) -> Result<()> {
        if self.jobmanager.is_some() {
            return Ok(());
        }
        self.started += 1;
        let name = format!("jobmanager-{}", self.started);
        let (listen, directory) = (self.address.to_string(), &self.directory);
        let checkpoints = format!("file://{}", directory.join("checkpoints").display());
        let fixed = ["--role", "jobmanager", "--listen", &listen, "--checkpoint-dir", &checkpoints];
        let arguments = fixed.into_iter().chain(LOG).chain(self.arguments.iter().map(String::as_str));
        self.said.follow(directory.join(format!("{name}.err")));
        self.jobmanager = Some(JobProcess::start(&self.binary, directory, name, arguments)?);
        Ok(())
    }

    /// Starts TaskManagers until all are there.
    pub(crate) fn fill_up(&mut self) -> Result<()> {
        while self.taskmanagers.len() < TASK_MANAGERS {
            self.started += 1;
            let name = format!("taskmanager-{}", self.started);
            let address = self.address.to_string();
            let arguments = ["--role", "taskmanager", "--jobmanager", &address];
            let arguments = arguments.into_iter().chain(LOG);
            self.taskmanagers.push(JobProcess::start(&self.binary, &self.directory, name, arguments)?);
        }
        Ok(())
    }

    /// SIGKILL of the JobManager.
    pub(crate) fn kill_jobmanager(&mut self) {
        self.said.catch_up();
        if let Some(mut jobmanager) = self.jobmanager.take() {
            jobmanager.kill9();
            self.said.catch_up();
        }
    }

    /// SIGKILL of all TaskManagers at one moment: the last one does nothing more while the first one is buried.
    pub(crate) fn kill_taskmanagers(&mut self) {
        for taskmanager in &self.taskmanagers {
            let _ = taskmanager.freeze();
        }
        self.taskmanagers.iter_mut().for_each(JobProcess::kill9);
        self.taskmanagers.clear();
    }

    /// Who has this process id, if still there.
    pub(crate) fn find(&mut self, id: u32) -> Option<&mut JobProcess> {
        self.taskmanagers.iter_mut().chain(&mut self.jobmanager).find(|process| process.id() == id)
    }

    /// Lets everybody go on.
    pub(crate) fn thaw_all(&mut self) -> Result<()> {
        for process in self.taskmanagers.iter().chain(&self.jobmanager) {
            process.thaw()?;
        }
        Ok(())
    }

    /// Takes note of processes that have ended by themselves, and forgets them. Returns how the JobManager ended.
    pub(crate) fn look_for_ended(&mut self) -> Result<Option<(ExitStatus, String)>> {
        let mut kept = Vec::new();
        for mut process in std::mem::take(&mut self.taskmanagers) {
            match process.ended()? {
                None => kept.push(process),
                Some(status) => self.surprises.push(how(&process, status)),
            }
        }
        self.taskmanagers = kept;
        let Some(jobmanager) = &mut self.jobmanager else { return Ok(None) };
        let Some(status) = jobmanager.ended()? else { return Ok(None) };
        self.said.catch_up();
        self.surprises.push(how(jobmanager, status));
        let said = jobmanager.errors();
        self.jobmanager = None;
        Ok(Some((status, said)))
    }

    /// Completed checkpoints that JobManagers have told of.
    pub(crate) fn checkpoints(&mut self) -> u64 {
        self.said.catch_up();
        self.said.checkpoints
    }

    /// Attempts that JobManagers have told of.
    pub(crate) fn deployments(&mut self) -> u64 {
        self.said.catch_up();
        self.said.deployments
    }
}

fn how(process: &JobProcess, status: ExitStatus) -> String {
    let name = process.name();
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("{name} ended with code {code}"),
        (None, signal) => format!("{name} was ended by signal {}", signal.unwrap_or_default()),
    }
}

impl Said {
    fn follow(&mut self, path: PathBuf) {
        self.catch_up();
        (self.path, self.position) = (path, 0);
        self.rest.clear();
    }

    fn catch_up(&mut self) {
        let Ok(mut file) = File::open(&self.path) else { return };
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(self.position)).is_err() || file.read_to_end(&mut bytes).is_err() {
            return;
        }
        self.position += bytes.len() as u64;
        self.rest += &String::from_utf8_lossy(&bytes);
        while let Some(end) = self.rest.find('\n') {
            let line: String = self.rest.drain(..=end).collect();
            self.checkpoints += u64::from(is_completion(&line));
            self.deployments += u64::from(line.starts_with("deploying attempt "));
        }
    }
}

/// `checkpoint 7 complete in 12 ms, 3.4 KB`.
fn is_completion(line: &str) -> bool {
    line.strip_prefix("checkpoint ")
        .and_then(|rest| rest.split_once(' '))
        .is_some_and(|(id, rest)| id.parse::<u64>().is_ok() && rest.starts_with("complete in "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_jobmanager_says_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let mut said = Said::default();
        let path = directory.path().join("a.err");
        said.follow(path.clone());
        said.catch_up();
        assert_eq!((said.checkpoints, said.deployments), (0, 0));
        std::fs::write(
            &path,
            "deploying attempt 1 from the beginning\ncheckpoint 1 complete in 3 ms, 0 B\nche",
        )
        .unwrap();
        said.catch_up();
        assert_eq!((said.checkpoints, said.deployments), (1, 1));
        std::fs::write(&path, "deploying attempt 1 from the beginning\ncheckpoint 1 complete in 3 ms, 0 B\ncheckpoint 2 complete in 1 ms, 0 B\nwarning: checkpoint 3 failed: x\n").unwrap();
        said.catch_up();
        let second = directory.path().join("b.err");
        std::fs::write(&second, "checkpoint 4 complete in 3 ms, 0 B\n").unwrap();
        said.follow(second);
        said.catch_up();
        assert_eq!((said.checkpoints, said.deployments), (3, 1));
    }
}
