use std::io::Write;
use std::process::{Command, Stdio};

use crate::process;

/// One thing a machine must have.
#[derive(Debug)]
pub struct Requirement {
    pub(super) name: &'static str,
    pub(super) why: &'static str,
    /// Debian packages that bring it.
    pub(super) packages: &'static [&'static str],
    presence: Presence,
}

/// How to see that it is there. The thing itself is tried, not its package: it may have come another way.
#[derive(Debug)]
enum Presence {
    Program(&'static str),
    Header(&'static str),
    Java { version: u32 },
}

/// For building everything: librdkafka is C and C++ and comes as source.
pub const BUILD: &[Requirement] = &[
    Requirement {
        name: "a C compiler",
        why: "librdkafka, the Kafka client, is compiled from source",
        packages: &["gcc", "libc6-dev"],
        presence: Presence::Program("cc"),
    },
    Requirement {
        name: "a C++ compiler",
        why: "librdkafka's build checks for one",
        packages: &["g++"],
        presence: Presence::Program("c++"),
    },
    Requirement {
        name: "make",
        why: "librdkafka is built with it",
        packages: &["make"],
        presence: Presence::Program("make"),
    },
    Requirement {
        name: "pkg-config",
        why: "the builds find OpenSSL and zlib with it",
        packages: &["pkg-config"],
        presence: Presence::Program("pkg-config"),
    },
    Requirement {
        name: "OpenSSL with headers",
        why: "the Kafka client's TLS and SASL",
        packages: &["libssl-dev"],
        presence: Presence::Header("openssl/ssl.h"),
    },
    Requirement {
        name: "zlib with headers",
        why: "the Kafka client's gzip compression",
        packages: &["zlib1g-dev"],
        presence: Presence::Header("zlib.h"),
    },
];

/// For running Kafka.
pub const JAVA: Requirement = Requirement {
    name: "Java 17 or newer",
    why: "Apache Kafka runs on it",
    packages: &["default-jre-headless"],
    presence: Presence::Java { version: 17 },
};

/// For fetching Kafka.
pub const MAVEN: Requirement = Requirement {
    name: "Maven",
    why: "it fetches Apache Kafka's jars",
    packages: &["maven"],
    presence: Presence::Program("mvn"),
};

impl Requirement {
    pub(super) fn is_met(&self) -> bool {
        match self.presence {
            Presence::Program(program) => process::find(program).is_some(),
            Presence::Header(header) => preprocesses(header),
            Presence::Java { version } => java_version().is_some_and(|found| found >= version),
        }
    }
}

fn preprocesses(header: &str) -> bool {
    let preprocess = || -> std::io::Result<bool> {
        let mut compiler = Command::new("cc")
            .args(["-E", "-xc", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut input) = compiler.stdin.take() {
            writeln!(input, "#include <{header}>")?;
        }
        Ok(compiler.wait()?.success())
    };
    preprocess().unwrap_or(false)
}

fn java_version() -> Option<u32> {
    let output = Command::new("java").arg("-version").stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| parse_java_version(&String::from_utf8_lossy(&output.stderr)))?
}

/// The first number of the quoted version; `1.8.0` counts as 1, which is old enough.
fn parse_java_version(text: &str) -> Option<u32> {
    let (_, version) = text.split_once('"')?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions() {
        assert_eq!(parse_java_version("openjdk version \"17.0.15\" 2025-04-15\n"), Some(17));
        assert_eq!(parse_java_version("openjdk version \"21\" 2023-09-19\n"), Some(21));
        assert_eq!(parse_java_version("java version \"1.8.0_292\"\n"), Some(1));
        assert_eq!(parse_java_version("not found"), None);
    }

    #[test]
    fn an_unknown_program_is_not_met() {
        let unknown =
            Requirement { name: "", why: "", packages: &[], presence: Presence::Program("no-such-program") };
        assert!(!unknown.is_met());
    }
}
