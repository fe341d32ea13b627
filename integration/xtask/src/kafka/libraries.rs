use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::{LIBRARIES_VARIABLE, UNAVAILABLE_VARIABLE, VERSION};
use crate::error::{Result, Trying};
use crate::{cache, setup};

/// Kafka's jars in a directory of this machine, and a Java that runs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaLibraries {
    directory: PathBuf,
}

/// Whether real Kafka brokers can be started here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KafkaAvailability {
    /// They can, from these jars.
    Available(KafkaLibraries),
    /// They cannot: callers fall back to embedded runs, and say so.
    Unavailable {
        /// What is missing and what to do about it.
        reason: String,
    },
}

/// Says, without installing system packages, whether Kafka can be started; downloads its jars if Java and Maven are
/// there. Looks once per process.
pub fn availability() -> &'static KafkaAvailability {
    static FOUND: OnceLock<KafkaAvailability> = OnceLock::new();
    FOUND.get_or_init(|| {
        if let Some(directory) = env::var_os(LIBRARIES_VARIABLE) {
            return KafkaAvailability::Available(KafkaLibraries { directory: directory.into() });
        }
        availability_of(VERSION)
    })
}

/// As [`availability`], of another version of Kafka than the one that is used by default: for what only that version does.
/// Looks each time.
pub fn availability_of(version: &str) -> KafkaAvailability {
    if let Some(reason) = env::var_os(UNAVAILABLE_VARIABLE) {
        return KafkaAvailability::Unavailable { reason: reason.to_string_lossy().into_owned() };
    }
    KafkaLibraries::obtain(version, setup::look).into()
}

impl KafkaAvailability {
    /// As [`availability`], and installs Java and Maven where that is possible.
    pub fn prepare() -> Self {
        KafkaLibraries::obtain(VERSION, setup::ensure).into()
    }

    /// The jars, or the reason why there are none.
    pub fn libraries(&self) -> std::result::Result<&KafkaLibraries, &str> {
        match self {
            Self::Available(libraries) => Ok(libraries),
            Self::Unavailable { reason } => Err(reason),
        }
    }
}

impl From<Result<KafkaLibraries>> for KafkaAvailability {
    fn from(obtained: Result<KafkaLibraries>) -> Self {
        match obtained {
            Ok(libraries) => Self::Available(libraries),
            Err(error) => Self::Unavailable { reason: error.to_string() },
        }
    }
}

impl KafkaLibraries {
    /// Directory that holds the jars and nothing else.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Java with Kafka on its class path.
    pub(super) fn java(&self, mut java: Command, options: &[&str]) -> Command {
        java.args(options).arg("-cp").arg(self.directory.join("*")).stdin(Stdio::null());
        java
    }

    fn obtain(version: &str, require: fn(&[setup::Requirement]) -> Result<()>) -> Result<Self> {
        let home = cache::directory().join("kafka").join(version);
        Self::obtain_artifact(BROKER, version, &home, require)
    }

    /// The jars of Kafka's command-line tools, which a broker does not need.
    pub(super) fn of_tools(version: &str) -> Result<Self> {
        let home = cache::directory().join("kafka").join(version).join("tools");
        Self::obtain_artifact(TOOLS, version, &home, setup::ensure)
    }

    fn obtain_artifact(
        artifact: &str,
        version: &str,
        home: &Path,
        require: fn(&[setup::Requirement]) -> Result<()>,
    ) -> Result<Self> {
        let libraries = Self { directory: home.join("libs") };
        if libraries.directory.is_dir() {
            require(&[setup::JAVA])?;
        } else {
            require(&[setup::JAVA, setup::MAVEN])?;
            fs::create_dir_all(home).trying(|| format!("cannot create {}", home.display()))?;
            let lock = home.join("lock");
            let lock = File::create(&lock).trying(|| format!("cannot create {}", lock.display()))?;
            lock.lock().trying(|| "cannot lock the cache of Kafka's jars".to_owned())?;
            // Another process may have fetched the jars while this one waited for the lock.
            if !libraries.directory.is_dir() {
                libraries.download(artifact, version, home)?;
            }
        }
        Ok(libraries)
    }

    /// The jars appear under their final name all at once, so that a broken download is never used.
    fn download(&self, artifact: &str, version: &str, home: &Path) -> Result<()> {
        let partial = home.join("libs.partial");
        let _ = fs::remove_dir_all(&partial);
        eprintln!("kafka: fetching {artifact} {version} (about 45 MB, once) into {}", home.display());
        let project = home.join("pom.xml");
        fs::write(&project, PROJECT.replace("{artifact}", artifact).replace("{version}", version))
            .trying(|| format!("cannot write {}", project.display()))?;
        let mut output = std::ffi::OsString::from("-DoutputDirectory=");
        output.push(&partial);
        // Standard output belongs to results; Maven's goes to standard error.
        let maven = Command::new("mvn")
            .current_dir(home)
            .args(["-q", "-B", "-Dstyle.color=never"])
            .arg(output)
            .arg("dependency:copy-dependencies")
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status();
        let status = maven.trying(|| "cannot run mvn".to_owned())?;
        if !status.success() {
            return Err(crate::Error::Program {
                program: "mvn dependency:copy-dependencies".to_owned(),
                status,
            });
        }
        fs::rename(&partial, &self.directory).trying(|| format!("cannot rename {}", partial.display()))
    }
}

/// Maven artifacts of Apache Kafka: a broker, and the command-line tools.
const BROKER: &str = "kafka_2.13";
const TOOLS: &str = "kafka-tools";

/// Kafka itself brings no logging backend for SLF4J; without one its log is silent.
const PROJECT: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>flott</groupId>
  <artifactId>kafka-libs</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>{artifact}</artifactId>
      <version>{version}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>2.25.4</version>
    </dependency>
  </dependencies>
</project>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_becomes_the_reason() {
        let failed = Err(crate::Error::Missing("java is missing".to_owned()));
        assert_eq!(KafkaAvailability::from(failed).libraries(), Err("java is missing"));
    }
}
