//! The user by which the job's processes log in at the brokers, and whose password changes.

use std::process::{Child, Stdio};

use xtask::kafka::{KafkaLibraries, scram_password};

use crate::error::{Error, Result};

const OTHER_PASSWORD: &str = "another-password";

/// The user of the job, and what is wrong with the password.
#[derive(Debug)]
pub(crate) struct Login {
    libraries: KafkaLibraries,
    is_changed: bool,
    /// Kafka's own tool, which takes a second or two.
    changing: Option<Child>,
}

impl Login {
    pub(crate) const USER: &str = "card-alerts";
    pub(crate) const PASSWORD: &str = "storm-and-stress";
    pub(crate) const MECHANISM: &str = "SCRAM-SHA-256";

    pub(crate) fn new(libraries: &KafkaLibraries) -> Self {
        Self { libraries: libraries.clone(), is_changed: false, changing: None }
    }

    /// Makes the password wrong, or right again. Does not wait.
    pub(crate) fn change(&mut self, bootstrap: String, is_right: bool) -> Result<()> {
        self.wait()?;
        let password = if is_right { Self::PASSWORD } else { OTHER_PASSWORD };
        let mut tool = scram_password(&self.libraries, &bootstrap, Self::MECHANISM, Self::USER, password);
        let tool = tool.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.changing =
            Some(tool.map_err(|source| Error::Io { what: "cannot run java".to_owned(), source })?);
        self.is_changed = !is_right;
        Ok(())
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Waits until the brokers have what was asked for last.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let Some(mut tool) = self.changing.take() else { return Ok(()) };
        let ended =
            tool.wait().map_err(|source| Error::Io { what: "cannot wait for java".to_owned(), source })?;
        if ended.success() {
            return Ok(());
        }
        Err(Error::Refused(format!("the brokers did not take a password: kafka.admin.ConfigCommand {ended}")))
    }
}
