//! What a machine needs for building Flott and for running Kafka, and how to get it.
//!
//! [`ensure`] looks, installs Debian packages where it may, and else says what a person should do. [`look`] only looks.

mod plan;
mod requirement;

pub use requirement::{BUILD, JAVA, MAVEN, Requirement};

use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::process;
use plan::Plan;

/// Makes sure that everything listed is there. Missing things are installed by `apt-get` where this process is root on
/// a machine that has it; what and why goes to standard error.
pub fn ensure(requirements: &[Requirement]) -> Result<()> {
    let is_root = rustix::process::geteuid().is_root();
    let may_install = is_root && process::find("apt-get").is_some();
    match Plan::for_missing(&missing(requirements), may_install) {
        Plan::Nothing => Ok(()),
        Plan::Tell(text) => Err(Error::Missing(text)),
        Plan::Install { packages, reasons } => {
            for reason in reasons {
                eprintln!("set-up: {reason}");
            }
            let installed = install(&packages);
            match Plan::for_missing(&missing(requirements), false) {
                Plan::Tell(text) => {
                    let cause = installed.err().map(|error| format!("{error}; ")).unwrap_or_default();
                    Err(Error::Missing(format!("{cause}{text}")))
                }
                _ => Ok(()),
            }
        }
    }
}

/// Says what is missing, as an error, and installs nothing.
pub fn look(requirements: &[Requirement]) -> Result<()> {
    match Plan::for_missing(&missing(requirements), false) {
        Plan::Tell(text) => Err(Error::Missing(text)),
        _ => Ok(()),
    }
}

fn missing(requirements: &[Requirement]) -> Vec<&Requirement> {
    requirements.iter().filter(|requirement| !requirement.is_met()).collect()
}

fn install(packages: &[&str]) -> Result<()> {
    eprintln!("set-up: apt-get install {}", packages.join(" "));
    // A fresh image has no package lists; on other machines they may be old.
    process::run_checked(apt().args(["-qq", "update"]))?;
    process::run_checked(apt().args(["-qq", "-y", "--no-install-recommends", "install"]).args(packages))
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-o", "DPkg::Lock::Timeout=120"])
        .current_dir(Path::new("/"))
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    apt
}
