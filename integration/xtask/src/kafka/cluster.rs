use std::fs;
use std::path::{Path, PathBuf};

use super::seat::Seat;
use super::{BrokerSettings, KafkaBroker, KafkaLibraries, format};
use crate::error::{Error, Result};

/// Brokers that know each other, each of them a controller as well. They belong to this process and die with it.
///
/// With three of them every partition has three replicas, internal topics included, and counts as written when two have
/// it: any one broker can be away.
#[derive(Debug)]
pub struct KafkaCluster {
    brokers: Vec<KafkaBroker>,
}

impl KafkaCluster {
    /// Starts an empty cluster on free ports and waits until all brokers serve. Their directories are removed when it is
    /// dropped.
    pub fn start_temporary(libraries: &KafkaLibraries, brokers: usize) -> Result<Self> {
        Self::start_temporary_with(libraries, BrokerSettings::temporary(), brokers)
    }

    /// As [`Self::start_temporary`], with settings of the caller's. Their directory must not be there yet.
    pub fn start_temporary_with(
        libraries: &KafkaLibraries,
        settings: BrokerSettings,
        brokers: usize,
    ) -> Result<Self> {
        Self::launch(libraries, &settings, brokers, true)
    }

    /// Starts a cluster on a directory, which keeps its data for a later start with as many brokers, and waits until all
    /// brokers serve.
    pub fn start_with(libraries: &KafkaLibraries, settings: &BrokerSettings, brokers: usize) -> Result<Self> {
        Self::launch(libraries, settings, brokers, false)
    }

    fn launch(
        libraries: &KafkaLibraries,
        settings: &BrokerSettings,
        count: usize,
        is_temporary: bool,
    ) -> Result<Self> {
        // The brokers that have started die with this value if another one fails.
        let mut cluster = Self { brokers: Vec::new() };
        for claimed in Seat::claim(settings.port, count)? {
            let mut settings = member(settings, claimed.seat.node);
            if is_temporary {
                // Beside each other: of a common directory above them nobody would be left to remove it.
                settings.directory = beside(&settings.directory);
            }
            if let Some(first) = cluster.brokers.first() {
                join(first.directory(), &settings.directory, claimed.seat.node)?;
            }
            cluster.brokers.push(KafkaBroker::spawn(libraries, settings, claimed, is_temporary)?);
        }
        cluster.brokers.iter_mut().try_for_each(KafkaBroker::wait_until_ready)?;
        Ok(cluster)
    }

    /// The addresses of all brokers that were not removed, for clients: separated by commas, as Kafka wants them.
    pub fn bootstrap(&self) -> String {
        self.brokers.iter().map(KafkaBroker::bootstrap).collect::<Vec<_>>().join(",")
    }

    /// As [`Self::bootstrap`], for clients that log in. Empty without [`BrokerSettings::login`].
    pub fn login_bootstrap(&self) -> String {
        self.brokers.iter().filter_map(KafkaBroker::login_bootstrap).collect::<Vec<_>>().join(",")
    }

    /// All brokers that were not removed.
    pub fn brokers(&mut self) -> &mut [KafkaBroker] {
        &mut self.brokers
    }

    /// One broker.
    ///
    /// # Errors
    /// When it is not there.
    pub fn broker(&mut self, id: i32) -> Result<&mut KafkaBroker> {
        let broker = self.brokers.iter_mut().find(|broker| broker.id() == id);
        broker.ok_or_else(|| Error::Broker(format!("there is no broker {id}")))
    }

    /// Kills a broker and removes its data: it does not come back.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&mut self, id: i32) -> Result<()> {
        let directory = self.broker(id)?.directory().to_owned();
        self.brokers.retain(|broker| broker.id() != id);
        let _ = fs::remove_dir_all(directory);
        Ok(())
    }
}

/// The settings of one broker of a cluster.
pub(super) fn member(settings: &BrokerSettings, node: u16) -> BrokerSettings {
    BrokerSettings { directory: settings.directory.join(format!("broker-{node}")), ..settings.clone() }
}

/// `one-two` for `one/two`.
fn beside(directory: &Path) -> PathBuf {
    let name = directory.file_name().unwrap_or_default();
    let mut flat = directory.parent().unwrap_or(directory).as_os_str().to_owned();
    flat.push("-");
    flat.push(name);
    flat.into()
}

/// Prepares an empty directory for a further broker of a cluster.
pub(super) fn join(first: &Path, directory: &Path, node: u16) -> Result<()> {
    if format::is_formatted(directory) { Ok(()) } else { format::format_beside(first, directory, node) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_brokers_have_no_directory_in_common() {
        assert_eq!(beside(Path::new("/tmp/kafka-1/broker-2")), Path::new("/tmp/kafka-1-broker-2"));
    }
}
