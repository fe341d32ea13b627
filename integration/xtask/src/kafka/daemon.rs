//! The broker of `cargo xtask kafka up`, which runs until `cargo xtask kafka down`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::port::{PortClaim, require_free};
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

/// Starts the broker, or finds it running, and returns its bootstrap address. Progress goes to standard error.
pub fn up(libraries: &KafkaLibraries, directory: &Path, port: u16) -> Result<String> {
    fs::create_dir_all(directory).trying(|| format!("cannot create {}", directory.display()))?;
    let directory = &directory.canonicalize().trying(|| format!("cannot find {}", directory.display()))?;
    if let Some(running) = Running::find(directory) {
        if port != 0 && port != running.port {
            return Err(Error::Broker(format!(
                "the broker of {} runs already, on port {}: `cargo xtask kafka down` first, or use another --dir",
                directory.display(),
                running.port
            )));
        }
        eprintln!("kafka: runs already (process {})", running.id);
        return Ok(format!("127.0.0.1:{}", running.port));
    }

    let claim = PortClaim::any()?;
    let port = if port == 0 { claim.port } else { port };
    require_free(port)?;
    let controller = PortClaim::any()?;
    eprintln!("kafka: starting on 127.0.0.1:{port}, data and log in {}", directory.display());
    let settings = BrokerSettings::new(directory).port(port);
    let mut server = Server::spawn(libraries, &settings, (port, controller.port), &Guarded::No)?;
    let record = format!("{} {port}\n", server.id());
    let started = fs::write(process_file(directory), record)
        .trying(|| "cannot write the process id".to_owned())
        .and_then(|()| {
            let mut progress = |elapsed: Duration| eprintln!("kafka: starting, {} s", elapsed.as_secs());
            server.wait_until_ready(directory, port, &mut progress)
        });
    if let Err(error) = started {
        server.kill();
        let _ = fs::remove_file(process_file(directory));
        return Err(error);
    }
    eprintln!("kafka: up (process {}, log {})", server.id(), log_path(directory).display());
    Ok(format!("127.0.0.1:{port}"))
}

/// Stops the broker: SIGTERM, and SIGKILL after 20 s. Says on standard error what it did. The data stay.
pub fn down(directory: &Path) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(20);
    const LAST_PATIENCE: Duration = Duration::from_secs(25);
    let directory = &directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
    let Some(running) = Running::find(directory) else {
        eprintln!("kafka: no broker runs in {}", directory.display());
        return Ok(());
    };
    let watch = Stopwatch::start();
    process::signal(running.id, Signal::TERM)?;
    while Running::find(directory).is_some() {
        if watch.elapsed() > PATIENCE {
            process::signal(running.id, Signal::KILL)?;
        }
        if watch.elapsed() > LAST_PATIENCE {
            return Err(Error::Broker(format!("process {} does not end", running.id)));
        }
        pause(Duration::from_millis(50));
    }
    let _ = fs::remove_file(process_file(directory));
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
}

impl Running {
    /// The recorded process, if it is still the broker of this directory and not a stranger with a reused id.
    fn find(directory: &Path) -> Option<Self> {
        let record = fs::read_to_string(process_file(directory)).ok()?;
        let (id, port) = record.trim().split_once(' ')?;
        let running = Self { id: id.parse().ok()?, port: port.parse().ok()? };
        let command_line = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let properties = directory.join("server.properties").display().to_string();
        let mut words = command_line.split(|&byte| byte == 0);
        words.any(|word| word == properties.as_bytes()).then_some(running)
    }
}

fn process_file(directory: &Path) -> PathBuf {
    directory.join("kafka.pid")
}
