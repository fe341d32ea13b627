//! Timed processes: this binary again, kept apart from what else runs on the machine.

use std::{
    ffi::OsString,
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use rustix::{
    process::{Signal, set_parent_process_death_signal, setsid},
    thread::{CpuSet, sched_setaffinity},
};

use crate::error::{Error, Result, Trying};

/// What a process is for. No name begins with `FLOTT_`: a job takes those for settings.
const KIND: &str = "BENCH_CHILD";
const REPORT: &str = "BENCH_REPORT";
const CORES: &str = "BENCH_CORES";

/// Which timed process this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    /// A Flott job, in whatever role.
    Job,
    /// A hand-written loop.
    Hand,
    /// Any other program, which takes this one's place.
    Program,
}

impl Child {
    /// What the environment says; none for the process that a person started.
    pub(crate) fn of_environment() -> Option<Self> {
        match std::env::var(KIND).ok()?.as_str() {
            "job" => Some(Self::Job),
            "hand" => Some(Self::Hand),
            "program" => Some(Self::Program),
            _ => None,
        }
    }

    /// This binary as such a process, which reports to a file if one is given.
    pub(crate) fn command(self, cores: u32, report: Option<&Path>) -> Result<Command> {
        let binary = std::env::current_exe().trying(|| "cannot find this binary".into())?;
        let mut command = self.with_environment(Command::new(binary), cores);
        if let Some(report) = report {
            command.env(REPORT, report);
        }
        Ok(command)
    }

    fn with_environment(self, mut command: Command, cores: u32) -> Command {
        let kind = match self {
            Self::Job => "job",
            Self::Hand => "hand",
            Self::Program => "program",
        };
        command.env(KIND, kind).env(CORES, cores.to_string());
        command.env_remove(REPORT).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        xtask::kafka::hide_from(&mut command);
        command
    }
}

/// Becomes the program that the command line names. Returns only if that fails.
pub(crate) fn become_program() -> Result<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let program = words.next().unwrap_or_default();
    let failure = Command::new(&program).args(words).exec();
    Err(Error::Io { what: format!("cannot run {}", program.display()), source: failure })
}

/// Where this process reports to.
pub(crate) fn report_path() -> Option<OsString> {
    std::env::var_os(REPORT)
}

/// Pins this process to its cores and puts it ahead of everything else on them: a session of its own is a scheduling
/// group of its own. Where that is not permitted, figures are noisier and nothing else.
pub(crate) fn isolate() {
    let cores: usize = std::env::var(CORES).ok().and_then(|cores| cores.parse().ok()).unwrap_or(0);
    if cores > 0 {
        let mut set = CpuSet::new();
        (0..cores).for_each(|core| set.set(core));
        let _ = sched_setaffinity(None, &set);
        isolate_session();
    }
}

/// Begins a session, which ends with our parent, and puts it ahead of all others: it gets nine tenths of a core that others
/// want too. More than that, and a busy loop would take the machine away from whoever wants to stop it.
pub(crate) fn isolate_session() {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    if setsid().is_ok() {
        let _ = fs::write("/proc/self/autogroup", "-10");
    }
}

/// The most memory that a process had resident; `self` or a process id.
pub(crate) fn peak_rss_kib(process: &str) -> Option<u64> {
    status_kib(process, "VmHWM:")
}

/// The memory that a process has resident.
pub(crate) fn rss_kib(process: &str) -> Option<u64> {
    status_kib(process, "VmRSS:")
}

fn status_kib(process: &str, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// Processor seconds, user and system, of all processes that this one has waited for.
#[expect(clippy::cast_precision_loss, reason = "some seconds")]
pub(crate) fn cpu_s_of_children() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields are counted behind the program's name, which may contain anything.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(13).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() as f64 / TICKS_PER_SECOND
}
