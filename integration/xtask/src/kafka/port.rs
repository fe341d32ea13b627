use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use crate::cache;
use crate::clock::pause;
use crate::error::{Error, Result, Trying};

/// A free port that stays ours, also while nothing listens on it: a killed broker comes back on the same port.
///
/// The claim is a locked file, so it ends with this process at the latest.
#[derive(Debug)]
pub(super) struct PortClaim {
    pub(super) port: u16,
    _lock: File,
}

/// Below the range from which the system picks the local ports of outgoing connections (32768 and up on Linux).
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

impl PortClaim {
    pub(super) fn any() -> Result<Self> {
        let folder = cache::directory().join("ports");
        fs::create_dir_all(&folder).trying(|| format!("cannot create {}", folder.display()))?;
        // Processes begin at different places, which spares them most collisions.
        let begin = (std::process::id().wrapping_mul(37) % u32::from(COUNT)) as u16;
        for step in 0..COUNT {
            let port = FIRST + (begin + step) % COUNT;
            let path = folder.join(port.to_string());
            let lock = File::create(&path).trying(|| format!("cannot create {}", path.display()))?;
            if lock.try_lock().is_ok() && is_free(port) {
                return Ok(Self { port, _lock: lock });
            }
        }
        Err(Error::Broker(format!("no free port between {FIRST} and {}", FIRST + COUNT - 1)))
    }
}

/// Refuses a port that something listens on.
pub(super) fn require_free(port: u16) -> Result<()> {
    const TRIES: usize = 5;
    for _ in 0..TRIES {
        if is_free(port) {
            return Ok(());
        }
        // A child that another thread is just starting holds copies of our sockets until it executes its program,
        // also of one with which this port was tried a moment ago.
        pause(Duration::from_millis(20));
    }
    Err(Error::Broker(format!("port {port} is in use; choose another, or 0 for a free one")))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn two_claims_never_share_a_port() {
        let first = PortClaim::any().unwrap();
        let second = PortClaim::any().unwrap();
        assert_ne!(first.port, second.port);
    }

    #[test]
    fn a_port_that_is_listened_on_is_refused() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(require_free(listener.local_addr().unwrap().port()).is_err());
    }

    /// Brokers start while other threads start processes, which inherit the probing sockets for an instant.
    #[test]
    fn a_claimed_port_counts_as_free_while_processes_are_started() {
        std::thread::scope(|scope| {
            scope.spawn(|| (0..200).for_each(|_| assert!(Command::new("true").status().unwrap().success())));
            (0..200).for_each(|_| require_free(PortClaim::any().unwrap().port).unwrap());
        });
    }
}
