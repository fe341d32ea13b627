use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{BrokerSettings, KafkaLibraries};
use crate::clock::{Stopwatch, pause};
use crate::error::{Error, Result, Trying};
use crate::process;

/// One run of the broker's Java process, from start to death.
#[derive(Debug)]
pub(super) struct Server {
    java: Child,
    guard: Option<Child>,
    log_start: u64,
}

/// Who ends the broker if its owner dies without a word.
pub(super) enum Guarded {
    /// The broker outlives its owner.
    No,
    /// The broker is killed.
    Kill,
    /// The broker is killed and its directory removed.
    KillAndRemove,
}

/// A loaded machine with two cores may take its time.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const STARTED: &str = "Kafka Server started";

impl Server {
    /// Writes the settings, formats an empty directory and starts the process.
    pub(super) fn spawn(
        libraries: &KafkaLibraries,
        settings: &BrokerSettings,
        (port, controller_port): (u16, u16),
        guarded: &Guarded,
    ) -> Result<Self> {
        let home = &settings.directory;
        let properties = home.join("server.properties");
        let logging = home.join("log4j2.properties");
        fs::create_dir_all(home).trying(|| format!("cannot create {}", home.display()))?;
        fs::write(&properties, settings.render(port, controller_port))
            .trying(|| format!("cannot write {}", properties.display()))?;
        fs::write(&logging, LOGGING).trying(|| format!("cannot write {}", logging.display()))?;
        let logging = format!("-Dlog4j2.configurationFile=file:{}", logging.display());

        let log_path = log_path(home);
        let open = || File::options().create(true).append(true).open(&log_path);
        let log = open().trying(|| format!("cannot open {}", log_path.display()))?;
        let to_log = || log.try_clone().trying(|| "cannot share the broker's log".to_owned());
        if !home.join("data/meta.properties").is_file() {
            let mut format = libraries.java(Command::new("java"), &["-XX:TieredStopAtLevel=1", &logging]);
            format.args(["kafka.tools.StorageTool", "format", "-t", &cluster_id(), "-c"]).arg(&properties);
            let status = process::run(format.stdout(to_log()?).stderr(to_log()?))?;
            if !status.success() {
                return Err(failure("cannot format its directory", home, 0));
            }
        }

        let log_start = log.metadata().trying(|| format!("cannot read {}", log_path.display()))?.len();
        let java = match guarded {
            Guarded::No => process::in_own_session("java"),
            Guarded::Kill | Guarded::KillAndRemove => process::in_own_group("java"),
        };
        let mut java = libraries.java(java, &["-Xmx512m", "-XX:+UseSerialGC", &logging]);
        java.arg("kafka.Kafka").arg(&properties).stdout(to_log()?).stderr(to_log()?);
        let java = java.spawn().trying(|| "cannot run java".to_owned())?;
        let mut server = Self { java, guard: None, log_start };
        let guard = match guarded {
            Guarded::No => Ok(None),
            Guarded::Kill => guard(server.id(), None).map(Some),
            Guarded::KillAndRemove => guard(server.id(), Some(home)).map(Some),
        };
        server.guard = guard.inspect_err(|_| server.kill())?;
        Ok(server)
    }

    pub(super) fn id(&self) -> u32 {
        self.java.id()
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.java.try_wait(), Ok(None))
    }

    pub(super) fn has_started(&self, home: &Path) -> bool {
        log_since(home, self.log_start).contains(STARTED)
    }

    /// Waits until the broker says that it has started and answers on its port. `progress` is told once a second
    /// how long that has been.
    pub(super) fn wait_until_ready(
        &mut self,
        home: &Path,
        port: u16,
        progress: &mut dyn FnMut(Duration),
    ) -> Result<()> {
        let watch = Stopwatch::start();
        let mut next_progress = Duration::from_secs(1);
        loop {
            if !self.is_running() {
                return Err(failure("the broker ended while starting", home, self.log_start));
            }
            if self.has_started(home) && answers(port) {
                return Ok(());
            }
            let elapsed = watch.elapsed();
            if elapsed > START_TIMEOUT {
                let what = format!("the broker is not up after {} s", START_TIMEOUT.as_secs());
                return Err(failure(&what, home, self.log_start));
            }
            if elapsed >= next_progress {
                progress(elapsed);
                next_progress += Duration::from_secs(1);
            }
            pause(POLL_INTERVAL);
        }
    }

    /// SIGKILL, and waits until the process is gone.
    pub(super) fn kill(&mut self) {
        self.release_guard();
        let _ = self.java.kill();
        let _ = self.java.wait();
    }

    /// SIGTERM, and SIGKILL after `patience`.
    pub(super) fn stop(&mut self, patience: Duration) -> Result<()> {
        process::signal(self.id(), process::Signal::TERM)?;
        let watch = Stopwatch::start();
        while self.is_running() && watch.elapsed() < patience {
            pause(POLL_INTERVAL);
        }
        self.kill();
        Ok(())
    }

    /// Ends the guard before the process is reaped, so that the guard never meets a reused process id.
    fn release_guard(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }
}

/// Waits for the end of our pipe, which comes with our own end, be it by SIGKILL or by a test runner that never drops
/// its statics; then kills the broker.
fn guard(id: u32, remove: Option<&Path>) -> Result<Child> {
    let mut guard = process::in_own_group("sh");
    guard.args(["-c", GUARD, "flott-kafka-guard"]).arg(id.to_string());
    if let Some(directory) = remove {
        guard.arg(directory);
    }
    guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    guard.spawn().trying(|| "cannot run sh".to_owned())
}

const GUARD: &str = r#"read -r _
kill -9 "$1"
[ -n "$2" ] || exit 0
n=0
while kill -0 "$1" && [ $n -lt 40 ]; do sleep 0.05; n=$((n+1)); done
rm -rf -- "$2""#;

pub(super) fn log_path(home: &Path) -> std::path::PathBuf {
    home.join("kafka.log")
}

fn log_since(home: &Path, start: u64) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(log_path(home)) {
        let _ = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_to_end(&mut bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn failure(what: &str, home: &Path, log_start: u64) -> Error {
    const TAIL_LINES: usize = 15;
    let log = log_since(home, log_start);
    let lines: Vec<_> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    Error::Broker(format!("{what}; the end of {}:\n{tail}", log_path(home).display()))
}

/// Asks for the API versions: a port may be open before its broker serves anyone.
pub(super) fn answers(port: u16) -> bool {
    // Length, API key 18 (ApiVersions), version 0, correlation id 1, no client id.
    const REQUEST: &[u8] = &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 255, 255];
    const PATIENCE: Duration = Duration::from_secs(2);
    let ask = || -> std::io::Result<[u8; 8]> {
        let mut stream =
            TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(REQUEST)?;
        let mut head = [0; 8];
        stream.read_exact(&mut head)?;
        Ok(head)
    };
    ask().is_ok_and(|head| head[4..] == [0, 0, 0, 1])
}

/// 16 random bytes in Kafka's spelling: 22 characters of base64, of which the last carries two bits only.
#[expect(clippy::disallowed_methods, reason = "a name, nothing is decided by it")]
fn cluster_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:05x}A", random(), random() & 0xf_ffff)
}

const LOGGING: &str = "\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_has_the_length_kafka_wants() {
        assert_eq!(cluster_id().len(), 22);
        assert_ne!(cluster_id(), cluster_id());
    }
}
