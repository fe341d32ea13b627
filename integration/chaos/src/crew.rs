//! The processes of the job: who runs, who is away, who is frozen.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
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

/// Exit code of a JobManager that another one has deposed.
const DEPOSED: i32 = 5;

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

/// Binary, directories and arguments of the processes.
#[derive(Clone, Debug)]
pub(crate) struct CrewSpec {
    pub(crate) binary: PathBuf,
    /// Directory for the standard output and error of the processes.
    pub(crate) directory: PathBuf,
    pub(crate) checkpoints: PathBuf,
    /// Arguments of every JobManager.
    pub(crate) arguments: Vec<String>,
    /// Arguments of every process.
    pub(crate) common: Vec<String>,
}

/// A JobManager and its TaskManagers, and sometimes a rival JobManager on the same checkpoints.
pub(crate) struct Crew {
    spec: CrewSpec,
    address: SocketAddr,
    started: usize,
    pub(crate) jobmanager: Option<JobProcess>,
    pub(crate) taskmanagers: Vec<JobProcess>,
    rival: Vec<JobProcess>,
    /// A rival was started since the JobManager was, so one of the two is deposed.
    is_contested: bool,
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
    /// Starts all of them.
    pub(crate) fn start(spec: CrewSpec) -> Result<Self> {
        let mut crew = Self {
            spec,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            started: 0,
            jobmanager: None,
            taskmanagers: Vec::new(),
            rival: Vec::new(),
            is_contested: false,
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
        self.is_contested = !self.rival.is_empty();
        let (name, listen) = (self.next_name("jobmanager"), self.address.to_string());
        self.said.follow(self.spec.directory.join(format!("{name}.err")));
        self.jobmanager = Some(self.spec.start_jobmanager(name, &listen)?);
        Ok(())
    }

    /// Starts TaskManagers until all are there.
    pub(crate) fn fill_up(&mut self) -> Result<()> {
        while self.taskmanagers.len() < TASK_MANAGERS {
            let name = self.next_name("taskmanager");
            self.taskmanagers.push(self.spec.start_taskmanager(name, self.address, 1)?);
        }
        Ok(())
    }

    /// Starts a second JobManager on the checkpoints of the first, and a TaskManager that can run the whole job for it.
    pub(crate) fn start_rival(&mut self) -> Result<()> {
        let rival = self.begin_rival()?;
        self.complete_rival(rival)
    }

    /// SIGKILL of the JobManager, and two new ones at one moment.
    pub(crate) fn start_two(&mut self) -> Result<()> {
        self.kill_jobmanager();
        let rival = self.begin_rival()?;
        self.start_jobmanager()?;
        self.is_contested = true;
        self.complete_rival(rival)
    }

    fn begin_rival(&mut self) -> Result<JobProcess> {
        self.kill_rival()?;
        self.is_contested = true;
        let name = self.next_name("rival");
        self.spec.start_jobmanager(name, "127.0.0.1:0")
    }

    fn complete_rival(&mut self, mut rival: JobProcess) -> Result<()> {
        let listening = rival.wait_for_address(START_PATIENCE);
        self.rival.push(rival);
        // A rival that ends before it listens has found the journal in other hands.
        if let Ok(address) = listening {
            let name = self.next_name("rival-taskmanager");
            self.rival.push(self.spec.start_taskmanager(name, address, PARALLELISM)?);
        }
        Ok(())
    }

    /// SIGKILL of the rival JobManager and its TaskManager.
    pub(crate) fn kill_rival(&mut self) -> Result<()> {
        for mut process in std::mem::take(&mut self.rival) {
            if let Some(status) = process.ended()? {
                self.surprises.push(how(&process, status));
            }
        }
        Ok(())
    }

    fn next_name(&mut self, role: &str) -> String {
        self.started += 1;
        format!("{role}-{}", self.started)
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
    pub(crate) fn look_for_ended(&mut self) -> Result<Option<JobManagerEnd>> {
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
        self.jobmanager = None;
        let is_deposed = self.is_contested && status.code() == Some(DEPOSED);
        Ok(Some(JobManagerEnd { status, is_deposed }))
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

impl CrewSpec {
    fn start_jobmanager(&self, name: String, listen: &str) -> Result<JobProcess> {
        let checkpoints = format!("file://{}", self.checkpoints.display());
        let fixed = ["--role", "jobmanager", "--listen", listen, "--checkpoint-dir", &checkpoints];
        let given = self.common.iter().chain(&self.arguments).map(String::as_str);
        let arguments = fixed.into_iter().chain(LOG).chain(given);
        Ok(JobProcess::start(&self.binary, &self.directory, name, arguments)?)
    }

    fn start_taskmanager(&self, name: String, jobmanager: SocketAddr, slots: usize) -> Result<JobProcess> {
        let (address, slots) = (jobmanager.to_string(), slots.to_string());
        let fixed = ["--role", "taskmanager", "--jobmanager", &address, "--slots", &slots];
        let arguments = fixed.into_iter().chain(LOG).chain(self.common.iter().map(String::as_str));
        Ok(JobProcess::start(&self.binary, &self.directory, name, arguments)?)
    }
}

/// The end of a JobManager that nobody killed.
pub(crate) struct JobManagerEnd {
    pub(crate) status: ExitStatus,
    /// It had a rival, which leads now.
    pub(crate) is_deposed: bool,
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
