use super::Requirement;

/// What to do about what is missing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Everything is there.
    Nothing,
    /// These packages bring it, and this is why each is wanted.
    Install { packages: Vec<&'static str>, reasons: Vec<String> },
    /// A person must act.
    Tell(String),
}

impl Plan {
    pub(super) fn for_missing(missing: &[&Requirement], may_install: bool) -> Self {
        if missing.is_empty() {
            return Self::Nothing;
        }
        let mut packages: Vec<_> =
            missing.iter().flat_map(|requirement| requirement.packages).copied().collect();
        packages.sort_unstable();
        packages.dedup();
        let reasons = missing
            .iter()
            .map(|requirement| format!("{} is missing: {}", requirement.name, requirement.why))
            .collect::<Vec<_>>();
        if may_install {
            Self::Install { packages, reasons }
        } else {
            Self::Tell(format!(
                "{}. Install it (on Debian or Ubuntu, as root: apt-get update && apt-get install {})",
                reasons.join("; "),
                packages.join(" ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::{BUILD, JAVA, MAVEN};

    #[test]
    fn nothing_missing_needs_nothing() {
        assert_eq!(Plan::for_missing(&[], true), Plan::Nothing);
    }

    #[test]
    fn root_with_apt_installs_each_package_once() {
        let everything: Vec<_> = BUILD.iter().chain([&JAVA, &MAVEN]).collect();
        let Plan::Install { packages, reasons } = Plan::for_missing(&everything, true) else {
            panic!("should install");
        };
        assert_eq!(
            packages,
            [
                "default-jre-headless",
                "g++",
                "gcc",
                "libc6-dev",
                "libssl-dev",
                "make",
                "maven",
                "pkg-config",
                "zlib1g-dev"
            ]
        );
        assert_eq!(reasons.len(), everything.len());
    }

    #[test]
    fn others_are_told_what_and_why_and_how() {
        let Plan::Tell(text) = Plan::for_missing(&[&JAVA], false) else { panic!("should tell") };
        assert_eq!(
            text,
            "Java 17 or newer is missing: Apache Kafka runs on it. Install it \
             (on Debian or Ubuntu, as root: apt-get update && apt-get install default-jre-headless)"
        );
    }
}
