use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::port::PortClaim;
use super::seat::{ClaimedSeat, Seat};
use super::server::{Guarded, Server};
use super::{BrokerSettings, KafkaLibraries};
use crate::error::Result;
use crate::process::{self, Signal};

/// A broker that belongs to this process and dies with it: on drop, and also when this process is killed.
///
/// Any number can run beside each other, each with a port and a directory of its own, alone or as a
/// [`KafkaCluster`](super::KafkaCluster).
#[derive(Debug)]
pub struct KafkaBroker {
    libraries: KafkaLibraries,
    settings: BrokerSettings,
    bootstrap: String,
    seat: Seat,
    _claims: Vec<PortClaim>,
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
        Self::start_temporary_with(libraries, BrokerSettings::temporary())
    }

    /// As [`KafkaBroker::start_temporary`], with settings of the caller's. Their directory must not be there yet.
    pub fn start_temporary_with(libraries: &KafkaLibraries, settings: BrokerSettings) -> Result<Self> {
        let directory = settings.directory.clone();
        Self::launch(libraries, settings, true).inspect_err(|_| {
            let _ = fs::remove_dir_all(&directory);
        })
    }

    /// As [`KafkaBroker::start`], with broker properties of the caller's.
    pub fn start_with(libraries: &KafkaLibraries, settings: BrokerSettings) -> Result<Self> {
        Self::launch(libraries, settings, false)
    }

    fn launch(libraries: &KafkaLibraries, settings: BrokerSettings, is_temporary: bool) -> Result<Self> {
        let seat = Seat::claim(settings.port, 1)?.pop().expect("as many as were asked for");
        let mut broker = Self::spawn(libraries, settings, seat, is_temporary)?;
        broker.wait_until_ready()?;
        Ok(broker)
    }

    /// Starts the process and does not wait.
    pub(super) fn spawn(
        libraries: &KafkaLibraries,
        settings: BrokerSettings,
        ClaimedSeat { seat, claims }: ClaimedSeat,
        is_temporary: bool,
    ) -> Result<Self> {
        let server = Server::spawn(libraries, &settings, &seat, &guarded(is_temporary))?;
        Ok(Self {
            libraries: libraries.clone(),
            bootstrap: format!("127.0.0.1:{}", seat.port),
            seat,
            _claims: claims,
            server,
            settings,
            is_temporary,
        })
    }

    /// The number by which Kafka's metadata know it: 1 for a lone broker and for the first one of a cluster.
    pub fn id(&self) -> i32 {
        self.seat.node.into()
    }

    /// `host:port` for clients.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// `host:port` for clients that log in, if the settings have [`BrokerSettings::login`].
    pub fn login_bootstrap(&self) -> Option<String> {
        self.settings.login.as_ref().map(|_| format!("127.0.0.1:{}", self.seat.login_port))
    }

    /// The port clients connect to. It stays the same for the broker's life.
    pub fn port(&self) -> u16 {
        self.seat.port
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
        let guarded = guarded(self.is_temporary);
        self.server = Server::spawn(&self.libraries, &self.settings, &self.seat, &guarded)?;
        Ok(())
    }

    /// Whether the run that was started last has said that it has started. Does not wait.
    pub fn has_started(&self) -> bool {
        self.server.has_started(&self.settings.directory)
    }

    /// Waits until the run that was started last serves.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        self.server.wait_until_ready(&self.settings.directory, self.seat.port, &mut |_| {})
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
