use std::process::Command;

use super::KafkaLibraries;

/// The command that gives `user` a password for a SCRAM mechanism: Kafka's own tool. `bootstrap` is a listener on which
/// clients need not log in.
pub fn scram_password(
    libraries: &KafkaLibraries,
    bootstrap: &str,
    mechanism: &str,
    user: &str,
    password: &str,
) -> Command {
    let mut tool = libraries.java(Command::new("java"), &["-XX:TieredStopAtLevel=1"]);
    tool.args(["kafka.admin.ConfigCommand", "--bootstrap-server", bootstrap, "--alter", "--add-config"]);
    tool.arg(format!("{mechanism}=[password={password}]"));
    tool.args(["--entity-type", "users", "--entity-name", user]);
    tool
}
