//! The brokers of `cargo xtask kafka up`, which run until `cargo xtask kafka down`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cluster::{join, member};
use super::seat::{ClaimedSeat, Seat};
use super::server::{Guarded, Server, answers, log_path};
use super::{BrokerSettings, KafkaLibraries};
use crate::cache;
use crate::clock::{Stopwatch, pause};
use crate::error::{Error, Result, Trying};
use crate::process::{self, Signal};

/// Where the daemon lives unless told otherwise.
pub fn default_directory() -> PathBuf {
    cache::directory().join("kafka").join("daemon")
}

/// Starts so many brokers, or finds them running, and returns their bootstrap addresses. Progress goes to standard error.
///
/// A lone broker lives in `directory` itself, those of a cluster in directories below it.
pub fn up(libraries: &KafkaLibraries, directory: &Path, port: u16, brokers: u16) -> Result<String> {
    fs::create_dir_all(directory).trying(|| format!("cannot create {}", directory.display()))?;
    let directory = &directory.canonicalize().trying(|| format!("cannot find {}", directory.display()))?;
    let running = Running::find_all(directory);
    if !running.is_empty() {
        let is_as_asked = running.len() == usize::from(brokers) && (port == 0 || port == running[0].port);
        if !is_as_asked {
            return Err(Error::Broker(format!(
                "in {} run already: {}; `cargo xtask kafka down` first, or use another --dir",
                directory.display(),
                addresses(&running)
            )));
        }
        running.iter().for_each(|running| eprintln!("kafka: runs already (process {})", running.id));
        return Ok(addresses(&running));
    }
    let mut started = Vec::new();
    let result = start_all(libraries, directory, port, brokers, &mut started);
    if result.is_err() {
        for (server, home, _) in &mut started {
            server.kill();
            let _ = fs::remove_file(process_file(home));
        }
    }
    result
}

/// Starts the brokers and waits until they serve. The caller ends those that have started if one does not.
fn start_all(
    libraries: &KafkaLibraries,
    directory: &Path,
    port: u16,
    brokers: u16,
    started: &mut Vec<(Server, PathBuf, Seat)>,
) -> Result<String> {
    let settings = BrokerSettings::new(directory);
    let claimed = Seat::claim(port, brokers.into())?;
    for ClaimedSeat { seat, .. } in &claimed {
        let settings = if seat.is_lone() { settings.clone() } else { member(&settings, seat.node) };
        let home = settings.directory.clone();
        if let Some((_, first, _)) = started.first() {
            join(first, &home, seat.node)?;
        }
        eprintln!("kafka: starting on 127.0.0.1:{}, data and log in {}", seat.port, home.display());
        let server = Server::spawn(libraries, &settings, seat, &Guarded::No)?;
        let record = format!("{} {}\n", server.id(), seat.port);
        started.push((server, home.clone(), seat.clone()));
        fs::write(process_file(&home), record).trying(|| "cannot write the process id".to_owned())?;
    }
    for (server, home, seat) in started.iter_mut() {
        let mut progress = |elapsed: Duration| eprintln!("kafka: starting, {} s", elapsed.as_secs());
        server.wait_until_ready(home, seat.port, &mut progress)?;
        eprintln!("kafka: up (process {}, log {})", server.id(), log_path(home).display());
    }
    Ok(addresses(&Running::find_all(directory)))
}

/// Stops the brokers: SIGTERM, and SIGKILL after 20 s. Says on standard error what it did. The data stay.
pub fn down(directory: &Path) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(20);
    const LAST_PATIENCE: Duration = Duration::from_secs(25);
    let directory = &directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
    let running = Running::find_all(directory);
    if running.is_empty() {
        eprintln!("kafka: no broker runs in {}", directory.display());
        return Ok(());
    }
    let watch = Stopwatch::start();
    running.iter().try_for_each(|running| process::signal(running.id, Signal::TERM))?;
    loop {
        let left = Running::find_all(directory);
        if left.is_empty() {
            break;
        }
        if watch.elapsed() > PATIENCE {
            left.iter().try_for_each(|running| process::signal(running.id, Signal::KILL))?;
        }
        if watch.elapsed() > LAST_PATIENCE {
            return Err(Error::Broker(format!("process {} does not end", left[0].id)));
        }
        pause(Duration::from_millis(50));
    }
    for running in running {
        let _ = fs::remove_file(process_file(&running.home));
    }
    eprintln!("kafka: down after {:.1} s", watch.elapsed().as_secs_f64());
    Ok(())
}

/// Whether a broker answers on this local port.
pub fn is_up(port: u16) -> bool {
    answers(port)
}

struct Running {
    id: u32,
    port: u16,
    home: PathBuf,
}

impl Running {
    /// All brokers of this directory that run, in the order of their ports.
    fn find_all(directory: &Path) -> Vec<Self> {
        let below = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let homes = below.filter(|path| path.is_dir()).chain([directory.to_owned()]);
        let mut running: Vec<_> = homes.filter_map(Self::find).collect();
        running.sort_by_key(|running| running.port);
        running
    }

    /// The recorded process, if it is still the broker of this directory and not a stranger with a reused id.
    fn find(home: PathBuf) -> Option<Self> {
        let record = fs::read_to_string(process_file(&home)).ok()?;
        let (id, port) = record.trim().split_once(' ')?;
        let running = Self { id: id.parse().ok()?, port: port.parse().ok()?, home };
        let command_line = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let properties = running.home.join("server.properties").display().to_string();
        let mut words = command_line.split(|&byte| byte == 0);
        words.any(|word| word == properties.as_bytes()).then_some(running)
    }
}

fn addresses(running: &[Running]) -> String {
    running.iter().map(|running| format!("127.0.0.1:{}", running.port)).collect::<Vec<_>>().join(",")
}

fn process_file(directory: &Path) -> PathBuf {
    directory.join("kafka.pid")
}
