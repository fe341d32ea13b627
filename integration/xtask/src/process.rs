//! Running other programs and signalling them.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, kill_process};

use crate::error::{Error, Result, Trying};

pub use rustix::process::Signal;

/// Runs a program to its end with its output going where ours goes, whatever its exit status.
pub fn run(command: &mut Command) -> Result<ExitStatus> {
    command.status().trying(|| format!("cannot run {}", shown(command)))
}

/// As [`run`], and a status other than success is an error.
pub fn run_checked(command: &mut Command) -> Result<()> {
    let status = run(command)?;
    if status.success() { Ok(()) } else { Err(Error::Program { program: shown(command), status }) }
}

/// Whether a program runs and succeeds. Its output is thrown away.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Cargo as it was called, so that a toolchain chosen with `cargo +…` stays chosen.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Where a program lies on the `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A command that Ctrl-C does not reach. Its process id is that of the spawned child.
///
/// It stays in our session, unlike [`in_own_session`]: Linux shares the processor out between sessions (autogroup), and
/// 6.18 was seen to give one nothing at all for minutes while another one had more to do than there were cores.
pub fn in_own_group(program: &str) -> Command {
    let mut command = Command::new(program);
    command.process_group(0);
    command
}

/// A command that neither Ctrl-C nor the end of our terminal reaches. Its process id is that of the spawned child.
pub(crate) fn in_own_session(program: &str) -> Command {
    // `setsid` executes the program in place unless it leads a process group, which a fresh child never does.
    if find("setsid").is_some() {
        let mut command = Command::new("setsid");
        command.arg(program);
        command
    } else {
        in_own_group(program)
    }
}

/// Sends a signal to a process. A process that is already gone is no error.
pub fn signal(id: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::Unexpected(format!("{id} is no process id")))?;
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(Error::Io { what: format!("cannot signal process {id}"), source: errno.into() }),
    }
}

/// The command line as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
