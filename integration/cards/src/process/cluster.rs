use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::JobProcess;
use crate::error::{Error, Result};

const START_PATIENCE: Duration = Duration::from_secs(30);

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// The job's binary.
    pub binary: PathBuf,
    /// Where its processes run and leave what they say; checkpoints lie in `checkpoints` below.
    pub directory: PathBuf,
    /// Flags for the JobManager: settings and job parameters. TaskManagers get both from it.
    pub arguments: Vec<String>,
    /// The secret that its processes share, see [`make_secret`](super::make_secret). None: they speak plain TCP over loopback.
    pub secret_file: Option<PathBuf>,
}

impl ClusterSpec {
    /// Flags that secure the connections of a process.
    fn security(&self) -> Vec<String> {
        let path = self.secret_file.as_ref().map(|path| path.display().to_string());
        path.map_or_else(Vec::new, |path| vec!["--secret-file".to_owned(), path])
    }
}

/// A JobManager and its TaskManagers, as processes on this machine.
#[derive(Debug)]
pub struct Cluster {
    spec: ClusterSpec,
    address: SocketAddr,
    jobmanager: JobProcess,
    jobmanagers_started: u32,
    taskmanagers: Vec<JobProcess>,
    taskmanagers_started: u32,
}

impl Cluster {
    /// Starts a JobManager on a free port, and TaskManagers with one slot each.
    ///
    /// # Errors
    /// When a process cannot be started, or the JobManager does not listen in time.
    pub fn start(spec: ClusterSpec, taskmanagers: usize) -> Result<Self> {
        let mut jobmanager = start_jobmanager(&spec, "127.0.0.1:0", 1)?;
        let address = jobmanager.wait_for_address(START_PATIENCE)?;
        let mut cluster = Self {
            spec,
            address,
            jobmanager,
            jobmanagers_started: 1,
            taskmanagers: Vec::new(),
            taskmanagers_started: 0,
        };
        for _ in 0..taskmanagers {
            cluster.add_taskmanager()?;
        }
        Ok(cluster)
    }

    /// Where the JobManager listens, also after it was started again.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The JobManager that was started last.
    pub fn jobmanager(&mut self) -> &mut JobProcess {
        &mut self.jobmanager
    }

    /// All TaskManagers that were not taken away, in the order in which they were started.
    pub fn taskmanagers(&mut self) -> &mut Vec<JobProcess> {
        &mut self.taskmanagers
    }

    /// Starts one more TaskManager.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn add_taskmanager(&mut self) -> Result<&mut JobProcess> {
        self.taskmanagers_started += 1;
        let name = format!("taskmanager-{}", self.taskmanagers_started);
        let address = self.address.to_string();
        let security = self.spec.security();
        let arguments = ["--role", "taskmanager", "--jobmanager", &address];
        let arguments = arguments.into_iter().chain(security.iter().map(String::as_str));
        let taskmanager = JobProcess::start(&self.spec.binary, &self.spec.directory, name, arguments)?;
        self.taskmanagers.push(taskmanager);
        Ok(self.taskmanagers.last_mut().expect("was pushed a line above"))
    }

    /// Kills the JobManager if it still runs, and starts another on its address.
    ///
    /// # Errors
    /// When it cannot be started. That it listens is not waited for.
    pub fn restart_jobmanager(&mut self) -> Result<()> {
        self.jobmanager.kill9();
        self.jobmanagers_started += 1;
        self.jobmanager = start_jobmanager(&self.spec, &self.address.to_string(), self.jobmanagers_started)?;
        Ok(())
    }

    /// The TaskManager that has used the most processor time: one that works, and no standby.
    ///
    /// # Errors
    /// When there is none.
    pub fn busiest_taskmanager(&mut self) -> Result<&mut JobProcess> {
        let busiest = self.taskmanagers.iter_mut().max_by_key(|taskmanager| taskmanager.processor_ticks());
        busiest.ok_or_else(|| Error::Process("there is no TaskManager".to_owned()))
    }

    /// Waits until the JobManager ends with code 0 and its TaskManagers have followed it.
    ///
    /// # Errors
    /// When one of them does not end in time, or with another code. TaskManagers that were killed do not count.
    pub fn wait_until_finished(&mut self, timeout: Duration) -> Result<()> {
        self.jobmanager.wait_for_code(0, timeout)?;
        for taskmanager in &mut self.taskmanagers {
            use std::os::unix::process::ExitStatusExt;
            if taskmanager.wait(START_PATIENCE)?.signal() != Some(9) {
                taskmanager.wait_for_code(0, START_PATIENCE)?;
            }
        }
        Ok(())
    }

    /// How often the job was restarted, as the JobManager that was started last has said at its end.
    #[must_use]
    pub fn restarts(&self) -> Option<u64> {
        let said = self.jobmanager.errors();
        said.lines().rev().find_map(|line| line.strip_suffix(" restarts")?.rsplit(' ').next()?.parse().ok())
    }
}

fn start_jobmanager(spec: &ClusterSpec, listen: &str, number: u32) -> Result<JobProcess> {
    let checkpoints = checkpoint_url(&spec.directory);
    let fixed = ["--role", "jobmanager", "--listen", listen, "--checkpoint-dir", &checkpoints];
    let security = spec.security();
    let given = security.iter().chain(&spec.arguments).map(String::as_str);
    let arguments = fixed.into_iter().chain(given);
    JobProcess::start(&spec.binary, &spec.directory, format!("jobmanager-{number}"), arguments)
}

fn checkpoint_url(directory: &Path) -> String {
    format!("file://{}", directory.join("checkpoints").display())
}
