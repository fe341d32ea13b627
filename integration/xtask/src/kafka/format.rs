//! The content of a broker's directory before its first start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::KafkaLibraries;
use super::server::{failure, open_log, write_logging};
use crate::error::{Error, Result, Trying};
use crate::process;

const META: &str = "meta.properties";
/// The feature levels with which a cluster begins.
const BOOTSTRAP: &str = "bootstrap.checkpoint";

pub(super) fn is_formatted(home: &Path) -> bool {
    data(home).join(META).is_file()
}

/// Formats by Kafka's own tool, as the first broker of a new cluster. Its settings must have been written.
pub(super) fn format(libraries: &KafkaLibraries, home: &Path) -> Result<()> {
    let logging = write_logging(home)?;
    let log = open_log(home)?;
    let to_log = || log.try_clone().trying(|| "cannot share the broker's log".to_owned());
    let mut format = libraries.java(Command::new("java"), &["-XX:TieredStopAtLevel=1", &logging]);
    format.args(["kafka.tools.StorageTool", "format", "-t", &random_id(), "-c"]);
    format.arg(home.join("server.properties"));
    let status = process::run(format.stdout(to_log()?).stderr(to_log()?))?;
    if status.success() { Ok(()) } else { Err(failure("cannot format its directory", home, 0)) }
}

/// Formats as a further broker of the cluster that `first` belongs to. Kafka's tool would need a second of Java for it.
pub(super) fn format_beside(first: &Path, home: &Path, node: u16) -> Result<()> {
    let meta = data(first).join(META);
    let text = fs::read_to_string(&meta).trying(|| format!("cannot read {}", meta.display()))?;
    let unexpected = || Error::Broker(format!("{} names no cluster", meta.display()));
    let cluster = text.lines().find_map(|line| line.strip_prefix("cluster.id=")).ok_or_else(unexpected)?;
    let own = data(home);
    fs::create_dir_all(&own).trying(|| format!("cannot create {}", own.display()))?;
    let from = data(first).join(BOOTSTRAP);
    fs::copy(&from, own.join(BOOTSTRAP)).trying(|| format!("cannot copy {}", from.display()))?;
    let text = format!("version=1\ncluster.id={cluster}\nnode.id={node}\ndirectory.id={}\n", random_id());
    fs::write(own.join(META), text).trying(|| format!("cannot write {}", own.join(META).display()))
}

fn data(home: &Path) -> PathBuf {
    home.join("data")
}

/// 16 random bytes in Kafka's spelling: 22 characters of base64, of which the last carries two bits only.
#[expect(clippy::disallowed_methods, reason = "a name, nothing is decided by it")]
fn random_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:05x}A", random(), random() & 0xf_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_the_length_kafka_wants() {
        assert_eq!(random_id().len(), 22);
        assert_ne!(random_id(), random_id());
    }

    #[test]
    fn a_further_broker_is_of_the_same_cluster_and_somebody_else() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("1"), directory.path().join("2"));
        fs::create_dir_all(data(&first)).unwrap();
        assert!(format_beside(&first, &second, 2).is_err());
        fs::write(data(&first).join(META), "#\nnode.id=1\ndirectory.id=d\nversion=1\ncluster.id=c\n")
            .unwrap();
        fs::write(data(&first).join(BOOTSTRAP), "features").unwrap();
        format_beside(&first, &second, 2).unwrap();
        assert!(is_formatted(&second));
        let text = fs::read_to_string(data(&second).join(META)).unwrap();
        assert!(text.contains("cluster.id=c\nnode.id=2\n") && !text.contains("directory.id=d\n"), "{text}");
        assert_eq!(fs::read_to_string(data(&second).join(BOOTSTRAP)).unwrap(), "features");
    }
}
