//! Safety steps that can be taken out, to show that the storm sees what they are for.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::error::{Error, Result};

/// Environment variable by which a job that was built with the feature `ablation` learns what to leave out.
const VARIABLE: &str = "ABLATE";

/// A safety step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ablation {
    /// A producer is used again as soon as its transaction is committed, while a checkpoint still lists it
    Quarantine,
    /// Recovery only shuts older producers out, and does not first commit what the checkpoint lists
    Settle,
    /// Entries of the journal do not say which JobManager wrote them
    Writer,
    /// A job that has worked does not outlast refusals of the brokers
    Refusals,
}

impl Ablation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::Settle => "settle",
            Self::Writer => "writer",
            Self::Refusals => "refusals",
        }
    }

    /// Whether this storm may run.
    pub(crate) fn check(without: Option<Self>) -> Result<()> {
        match without {
            Some(ablation) if !cfg!(feature = "ablation") => Err(Error::Refused(format!(
                "--without {}: this build of the storm leaves nothing out; start it by `cargo xtask chaos`, or build it with \
                 --features ablation into a target directory of its own",
                ablation.name()
            ))),
            _ => Ok(()),
        }
    }

    /// A program in `directory` that is the job without this step. It becomes the job, so that its process id is the
    /// job's.
    pub(crate) fn wrap(self, job: &Path, directory: &Path) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;

        let path = directory.join(format!("card-alerts-without-{}", self.name()));
        let script = format!("#!/bin/sh\n{VARIABLE}={} exec '{}' \"$@\"\n", self.name(), job.display());
        let written = std::fs::write(&path, script)
            .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)));
        written.map_err(|source| Error::Io { what: format!("cannot write {}", path.display()), source })?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_wrapped_job_is_told_what_to_leave_out() {
        let directory = tempfile::tempdir().unwrap();
        let wrapped = Ablation::Settle.wrap(Path::new("/bin/sh"), directory.path()).unwrap();
        let said = Command::new(wrapped).args(["-c", "echo $ABLATE $1 $$", "x", "a b"]).output().unwrap();
        assert!(String::from_utf8_lossy(&said.stdout).starts_with("settle a b "), "{said:?}");
    }

    #[test]
    fn nothing_can_be_left_out_of_a_sound_build() {
        assert!(Ablation::check(None).is_ok());
        assert_eq!(Ablation::check(Some(Ablation::Quarantine)).is_ok(), cfg!(feature = "ablation"));
    }
}
