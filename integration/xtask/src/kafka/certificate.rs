use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Result;
use crate::process;

/// A broker's certificate for `localhost`, which is its own authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Keystore for the broker.
    pub keystore: PathBuf,
    /// What clients are to trust, in PEM.
    pub authority: PathBuf,
}

impl Certificate {
    /// Password of the keystore.
    pub const PASSWORD: &str = "keystore";

    /// Makes one in `directory`, by Java's own tool.
    pub fn make(directory: &Path) -> Result<Self> {
        let made = Self { keystore: directory.join("broker.p12"), authority: directory.join("ca.pem") };
        let keytool = |arguments: &[&str]| {
            let mut keytool = Command::new("keytool");
            keytool.args(arguments).args(["-alias", "broker", "-storepass", Self::PASSWORD, "-keystore"]);
            let quiet = keytool.arg(&made.keystore).stdout(Stdio::null()).stderr(Stdio::null());
            process::run_checked(quiet)
        };
        keytool(&[
            "-genkeypair",
            "-keyalg",
            "RSA",
            "-dname",
            "CN=localhost",
            "-ext",
            "SAN=dns:localhost",
            "-validity",
            "30",
        ])?;
        keytool(&["-exportcert", "-rfc", "-file", &made.authority.display().to_string()])?;
        Ok(made)
    }
}
