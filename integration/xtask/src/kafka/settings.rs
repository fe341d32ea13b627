use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

/// What a caller may choose about a broker.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// Everything of the broker: data, log, process id.
    pub directory: PathBuf,
    /// Port of the listener on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Lines of `server.properties` that are added or replace ours.
    pub properties: BTreeMap<String, String>,
}

impl BrokerSettings {
    /// A broker in this directory on any free port.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), port: 0, properties: BTreeMap::new() }
    }

    /// Listens on this port; 0 takes a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets one broker property.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// The text of `server.properties`.
    pub(super) fn render(&self, port: u16, controller_port: u16) -> String {
        let mut lines: BTreeMap<&str, String> =
            FIXED.iter().map(|&(name, value)| (name, value.to_owned())).collect();
        lines.insert("controller.quorum.voters", format!("1@127.0.0.1:{controller_port}"));
        lines.insert(
            "listeners",
            format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}"),
        );
        lines.insert("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}"));
        let data = self.directory.join("data");
        // A lone broker whose heartbeat is late is shut out, and its partitions are without a leader: on a busy machine
        // that must not happen soon. But a killed broker registers again only after its old session has run out.
        let session_timeout_ms = if data.exists() { "6000" } else { "60000" };
        lines.insert("broker.session.timeout.ms", session_timeout_ms.to_owned());
        lines.insert("log.dirs", data.display().to_string());
        for (name, value) in &self.properties {
            lines.insert(name, value.clone());
        }
        lines.into_iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name}={value}");
            text
        })
    }
}

/// `transaction.max.timeout.ms` keeps Kafka's 15 minutes: sinks must be refused beyond it.
const FIXED: &[(&str, &str)] = &[
    ("auto.create.topics.enable", "false"),
    ("broker.heartbeat.interval.ms", "500"),
    ("controller.listener.names", "CONTROLLER"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("inter.broker.listener.name", "PLAINTEXT"),
    ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
    // By default the broker deletes records whose event-time timestamps are older than a week, which looks like
    // lost output.
    ("log.retention.ms", "-1"),
    ("node.id", "1"),
    ("num.partitions", "4"),
    ("offsets.topic.num.partitions", "4"),
    ("offsets.topic.replication.factor", "1"),
    ("process.roles", "broker,controller"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("share.coordinator.state.topic.num.partitions", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.state.log.num.partitions", "4"),
    ("transaction.state.log.replication.factor", "1"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_of_the_caller_replace_ours() {
        let settings = BrokerSettings::new("/somewhere").property("num.partitions", "9");
        let text = settings.render(20_001, 20_002);
        assert!(text.contains("num.partitions=9\n"), "{text}");
        assert!(!text.lines().any(|line| line == "num.partitions=4"), "{text}");
        assert!(text.contains("advertised.listeners=PLAINTEXT://127.0.0.1:20001\n"), "{text}");
        assert!(text.contains("controller.quorum.voters=1@127.0.0.1:20002\n"), "{text}");
        assert!(text.contains("log.dirs=/somewhere/data\n"), "{text}");
    }
}
