use std::{
    ffi::OsStr,
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use xtask::{
    clock::{Stopwatch, pause},
    process::{Signal, in_own_group, signal},
};

use crate::error::{Error, Result, Trying};

const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// So much of a process' output is shown when it fails.
const TAIL_LINES: usize = 20;

/// One process of a job. It dies with its owner: when it is dropped, and also when this process is killed.
#[derive(Debug)]
pub struct JobProcess {
    name: String,
    child: Child,
    guard: Option<Child>,
    output: PathBuf,
    errors: PathBuf,
}

impl JobProcess {
    /// Starts a job's binary. Its outputs go to `{name}.out` and `{name}.err` in `directory`, where it also runs, and
    /// no setting reaches it by the environment.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        binary: &Path,
        directory: &Path,
        name: impl Into<String>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let name = name.into();
        let (output, errors) = (directory.join(format!("{name}.out")), directory.join(format!("{name}.err")));
        let create = |path: &Path| File::create(path).trying(|| format!("cannot create {}", path.display()));
        let mut command = Command::new(binary);
        command.args(arguments).current_dir(directory).stdin(Stdio::null());
        command.stdout(create(&output)?).stderr(create(&errors)?);
        for (variable, _) in std::env::vars_os() {
            if variable.as_encoded_bytes().starts_with(b"FLOTT_") {
                command.env_remove(variable);
            }
        }
        let child = command.spawn().trying(|| format!("cannot run {}", binary.display()))?;
        let mut process = Self { name, child, guard: None, output, errors };
        process.guard = Some(guard(process.id())?);
        Ok(process)
    }

    /// What it was called at its start.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended, be it frozen.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill9(&mut self) {
        self.release_guard();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn terminate(&self) -> Result<()> {
        Ok(signal(self.id(), Signal::TERM)?)
    }

    /// SIGSTOP: its connections stay open, and it answers nothing.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn freeze(&self) -> Result<()> {
        Ok(signal(self.id(), Signal::STOP)?)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn thaw(&self) -> Result<()> {
        Ok(signal(self.id(), Signal::CONT)?)
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When it has not ended in time; it goes on running.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let watch = Stopwatch::start();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if watch.elapsed() > timeout {
                return Err(self.failure(&format!("has not ended after {} s", timeout.as_secs())));
            }
            pause(POLL_INTERVAL);
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        // The guard goes first: once the process is reaped, its id may be another's.
        let is_over = fs::read_to_string(format!("/proc/{}/stat", self.id()))
            .map_or(true, |stat| stat.rsplit(") ").next().is_none_or(|rest| rest.starts_with('Z')));
        if is_over {
            self.release_guard();
        }
        let name = &self.name;
        self.child.try_wait().trying(|| format!("cannot wait for {name}"))
    }

    /// Waits until it ends, and checks its exit code.
    ///
    /// # Errors
    /// When it has not ended in time, or with another code, or by a signal; shows what it said.
    pub fn wait_for_code(&mut self, code: i32, timeout: Duration) -> Result<()> {
        let status = self.wait(timeout)?;
        if status.code() == Some(code) {
            return Ok(());
        }
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with code {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        };
        Err(self.failure(&format!("{how}, expected code {code}")))
    }

    /// Waits until it says where it listens.
    ///
    /// # Errors
    /// When it ends, or does not say so in time.
    pub fn wait_for_address(&mut self, timeout: Duration) -> Result<SocketAddr> {
        let watch = Stopwatch::start();
        loop {
            let said = self.errors() + &self.output();
            if let Some(address) = said.lines().find_map(address_in) {
                return Ok(address);
            }
            if self.ended()?.is_some() {
                return Err(self.failure("ended at its start"));
            }
            if watch.elapsed() > timeout {
                return Err(
                    self.failure(&format!("does not say where it listens after {} s", timeout.as_secs()))
                );
            }
            pause(POLL_INTERVAL);
        }
    }

    /// What it has written to standard error so far.
    #[must_use]
    pub fn errors(&self) -> String {
        fs::read(&self.errors).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// What it has written to standard output so far.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read(&self.output).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Ticks of processor time that it has used: a TaskManager that works uses more than a standby.
    #[must_use]
    pub fn processor_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        // After the name in parentheses: state is field 3, user and system time are fields 14 and 15.
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
    }

    /// Resident memory in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib =
            line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
    }

    /// An error about this process, with the end of what it said.
    #[must_use]
    pub fn failure(&self, what: &str) -> Error {
        let errors = self.errors();
        let lines: Vec<_> = errors.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        Error::Process(format!("{} {what}; the end of {}:\n{tail}", self.name, self.errors.display()))
    }

    fn release_guard(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }
}

impl Drop for JobProcess {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// A process that waits for the end of our pipe, which comes with our own end, and then kills the process `id`.
fn guard(id: u32) -> Result<Child> {
    let mut guard = in_own_group("sh");
    guard.args(["-c", "read -r _; kill -9 \"$1\"", "flott-job-guard"]).arg(id.to_string());
    guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    guard.spawn().trying(|| "cannot run sh".to_owned())
}

/// The address in a line such as `listening on 127.0.0.1:6123`.
fn address_in(line: &str) -> Option<SocketAddr> {
    let words = line.split_once("listen")?.1.split_whitespace();
    words.map(|word| word.trim_end_matches([',', '.', ';'])).find_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn shell(directory: &Path, script: &str) -> JobProcess {
        JobProcess::start(Path::new("/bin/sh"), directory, "job", ["-c", script]).unwrap()
    }

    fn is_alive(id: u32) -> bool {
        Path::new(&format!("/proc/{id}")).exists()
    }

    #[test]
    fn exit_codes_and_output_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = shell(directory.path(), "echo out; echo err >&2; exit 4");
        process.wait_for_code(4, PATIENCE).unwrap();
        assert_eq!((process.output().as_str(), process.errors().as_str()), ("out\n", "err\n"));
        let error = process.wait_for_code(0, PATIENCE).unwrap_err().to_string();
        assert!(error.contains("code 4") && error.contains("err"), "{error}");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let process = shell(directory.path(), "sleep 100 & wait");
        let id = process.id();
        assert!(is_alive(id));
        drop(process);
        assert!(!is_alive(id));
    }

    #[test]
    fn a_frozen_process_stands_still_until_it_is_thawed() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = shell(directory.path(), "while :; do :; done");
        process.freeze().unwrap();
        pause(Duration::from_millis(50));
        let ticks = process.processor_ticks();
        pause(Duration::from_millis(200));
        assert_eq!(process.processor_ticks(), ticks);
        assert!(process.is_running());
        process.thaw().unwrap();
        let watch = Stopwatch::start();
        while process.processor_ticks() == ticks {
            assert!(watch.elapsed() < PATIENCE);
            pause(POLL_INTERVAL);
        }
        process.terminate().unwrap();
        assert_eq!(process.wait(PATIENCE).unwrap().signal(), Some(15));
    }

    #[test]
    fn addresses_are_found_in_what_a_process_says() {
        let directory = tempfile::tempdir().unwrap();
        let mut process =
            shell(directory.path(), "sleep 0.1; echo 'listening on 127.0.0.1:4711, waiting' >&2; sleep 100");
        assert_eq!(process.wait_for_address(PATIENCE).unwrap().port(), 4711);
        assert_eq!(address_in("joined 127.0.0.1:1"), None);
        let mut process = shell(directory.path(), "echo no >&2; exit 3");
        assert!(process.wait_for_address(PATIENCE).unwrap_err().to_string().contains("no"));
    }
}
