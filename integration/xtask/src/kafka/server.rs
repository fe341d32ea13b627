use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::seat::Seat;
use super::{BrokerSettings, KafkaLibraries, format};
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
        seat: &Seat,
        guarded: &Guarded,
    ) -> Result<Self> {
        let home = &settings.directory;
        let properties = home.join("server.properties");
        fs::create_dir_all(home).trying(|| format!("cannot create {}", home.display()))?;
        fs::write(&properties, settings.render(seat))
            .trying(|| format!("cannot write {}", properties.display()))?;
        let logging = write_logging(home)?;
        let log = open_log(home)?;
        let to_log = || log.try_clone().trying(|| "cannot share the broker's log".to_owned());
        if !format::is_formatted(home) {
            format::format(libraries, home)?;
        }

        let log_start = log.metadata().trying(|| format!("cannot read {}", log_path(home).display()))?.len();
        let java = match guarded {
            Guarded::No => process::in_own_session("java"),
            Guarded::Kill | Guarded::KillAndRemove => process::in_own_group("java"),
        };
        // Of many processes, most of the work is their start, and the fast compiler alone saves a third of that.
        let size: &[_] =
            if seat.is_lone() { &["-Xmx512m"] } else { &["-Xmx256m", "-XX:TieredStopAtLevel=1"] };
        let options = [size, &["-XX:+UseSerialGC", &logging]].concat();
        let mut java = libraries.java(java, &options);
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

/// On a busy machine a killed process takes its time to die, and writes until then.
const GUARD: &str = r#"read -r _
kill -9 "$1"
[ -n "$2" ] || exit 0
n=0
while [ -e "$2" ] && [ $n -lt 200 ]; do rm -rf -- "$2"; sleep 0.05; n=$((n+1)); done"#;

/// Writes how the broker logs, and returns the option of Java that says so.
pub(super) fn write_logging(home: &Path) -> Result<String> {
    let path = home.join("log4j2.properties");
    fs::write(&path, LOGGING).trying(|| format!("cannot write {}", path.display()))?;
    Ok(format!("-Dlog4j2.configurationFile=file:{}", path.display()))
}

pub(super) fn open_log(home: &Path) -> Result<File> {
    let path = log_path(home);
    let file = File::options().create(true).append(true).open(&path);
    file.trying(|| format!("cannot open {}", path.display()))
}

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

pub(super) fn failure(what: &str, home: &Path, log_start: u64) -> Error {
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
