use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::port::{PortClaim, require_free};
use super::server::{Guarded, Server};
use super::{BrokerSettings, KafkaLibraries};
use crate::error::Result;
use crate::process::{self, Signal};

/// A broker that belongs to this process and dies with it: on drop, and also when this process is killed.
///
/// Any number can run beside each other, each with a port and a directory of its own.
#[derive(Debug)]
pub struct KafkaBroker {
    libraries: KafkaLibraries,
    settings: BrokerSettings,
    bootstrap: String,
    port: u16,
    controller: PortClaim,
    _claim: Option<PortClaim>,
    server: Server,
    is_temporary: bool,
}

const STOP_PATIENCE: Duration = Duration::from_secs(20);

impl KafkaBroker {
    /// Starts a broker on a directory, which keeps its data for a later start, and waits until it serves. Port 0
    /// takes a free one.
    pub fn start(libraries: &KafkaLibraries, directory: impl Into<PathBuf>, port: u16) -> Result<Self> {
        Self::start_with(libraries, BrokerSettings::new(directory).port(port))
    }

    /// Starts an empty broker on a free port. Its directory is removed when it is dropped.
    pub fn start_temporary(libraries: &KafkaLibraries) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("flott-kafka-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        // A process with our id may have lived here before.
        let _ = fs::remove_dir_all(&directory);
        Self::launch(libraries, BrokerSettings::new(&directory), true).inspect_err(|_| {
            let _ = fs::remove_dir_all(&directory);
        })
    }

    /// As [`KafkaBroker::start`], with broker properties of the caller's.
    pub fn start_with(libraries: &KafkaLibraries, settings: BrokerSettings) -> Result<Self> {
        Self::launch(libraries, settings, false)
    }

    fn launch(libraries: &KafkaLibraries, settings: BrokerSettings, is_temporary: bool) -> Result<Self> {
        let claim = if settings.port == 0 { Some(PortClaim::any()?) } else { None };
        let port = claim.as_ref().map_or(settings.port, |claim| claim.port);
        require_free(port)?;
        let controller = PortClaim::any()?;
        let guarded = guarded(is_temporary);
        let server = Server::spawn(libraries, &settings, (port, controller.port), &guarded)?;
        let mut broker = Self {
            libraries: libraries.clone(),
            bootstrap: format!("127.0.0.1:{port}"),
            port,
            controller,
            _claim: claim,
            server,
            settings,
            is_temporary,
        };
        broker.wait_until_ready()?;
        Ok(broker)
    }

    /// `host:port` for clients.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The port clients connect to. It stays the same for the broker's life.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id of the run that was started last.
    pub fn process_id(&self) -> u32 {
        self.server.id()
    }

    /// Where the data and `kafka.log` are.
    pub fn directory(&self) -> &Path {
        &self.settings.directory
    }

    /// Whether the process is there, be it frozen or not yet ready.
    pub fn is_running(&mut self) -> bool {
        self.server.is_running()
    }

    /// SIGKILL, and waits until the process is gone. Port and directory stay reserved.
    pub fn kill9(&mut self) {
        self.server.kill();
    }

    /// Starts the broker again on its port and directory and waits until it serves; kills it first if it runs.
    pub fn restart(&mut self) -> Result<()> {
        self.relaunch()?;
        self.wait_until_ready()
    }

    /// As [`KafkaBroker::restart`], without the waiting.
    pub fn relaunch(&mut self) -> Result<()> {
        self.server.kill();
        let ports = (self.port, self.controller.port);
        let guarded = guarded(self.is_temporary);
        self.server = Server::spawn(&self.libraries, &self.settings, ports, &guarded)?;
        Ok(())
    }

    /// Whether the run that was started last has said that it has started. Does not wait.
    pub fn has_started(&self) -> bool {
        self.server.has_started(&self.settings.directory)
    }

    /// Waits until the run that was started last serves.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        self.server.wait_until_ready(&self.settings.directory, self.port, &mut |_| {})
    }

    /// SIGSTOP: connections stay open, nothing answers.
    pub fn freeze(&self) -> Result<()> {
        process::signal(self.server.id(), Signal::STOP)
    }

    /// SIGCONT.
    pub fn thaw(&self) -> Result<()> {
        process::signal(self.server.id(), Signal::CONT)
    }

    /// Lets the broker shut down in order; SIGKILL after 20 s. It can be restarted.
    pub fn stop(&mut self) -> Result<()> {
        self.server.stop(STOP_PATIENCE)
    }
}

impl Drop for KafkaBroker {
    fn drop(&mut self) {
        self.server.kill();
        if self.is_temporary {
            let _ = fs::remove_dir_all(&self.settings.directory);
        }
    }
}

fn guarded(is_temporary: bool) -> Guarded {
    if is_temporary { Guarded::KillAndRemove } else { Guarded::Kill }
}
