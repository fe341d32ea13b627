use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::seat::Seat;

/// Settings of a broker, or of all brokers of a cluster.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// Everything of the broker: data, log, process id. Brokers of a cluster have directories of their own below it.
    pub directory: PathBuf,
    /// Port of the listener on 127.0.0.1; 0 takes a free one. The brokers of a cluster take this port and the next ones.
    pub port: u16,
    /// Ports that clients are told to connect to, by broker. Empty: the ports that the brokers listen on.
    pub advertised_ports: Vec<u16>,
    /// The SASL mechanism of a second listener, for clients that log in.
    pub login: Option<String>,
    /// Lines of `server.properties` that are added or replace ours.
    pub properties: BTreeMap<String, String>,
}

impl BrokerSettings {
    /// A broker in this directory on any free port.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            port: 0,
            advertised_ports: Vec::new(),
            login: None,
            properties: BTreeMap::new(),
        }
    }

    /// A broker on any free port, in a directory of the system's temporary one that is not there yet.
    #[must_use]
    pub fn temporary() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("flott-kafka-{}-{number}", std::process::id()));
        // A process with our id may have lived here before.
        let _ = fs::remove_dir_all(&directory);
        Self::new(directory)
    }

    /// Listens on this port; 0 takes a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Tells clients, and the other brokers, to connect to these ports: something else listens there and passes on to the
    /// brokers what it wants to. One port per broker.
    #[must_use]
    pub fn advertise(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.advertised_ports = ports.into_iter().collect();
        self
    }

    /// Serves clients that log in by this SCRAM mechanism, on a port of their own: see
    /// [`KafkaBroker::login_bootstrap`](super::KafkaBroker::login_bootstrap).
    #[must_use]
    pub fn login(mut self, mechanism: impl Into<String>) -> Self {
        self.login = Some(mechanism.into());
        self
    }

    /// Sets one broker property.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// The text of `server.properties`.
    pub(super) fn render(&self, seat: &Seat) -> String {
        let mut lines: BTreeMap<&str, String> =
            FIXED.iter().map(|&(name, value)| (name, value.to_owned())).collect();
        let (port, controller_port) = (seat.port, seat.controller_port());
        lines.insert("node.id", seat.node.to_string());
        lines.insert("controller.quorum.voters", seat.voters());
        lines.insert(
            "listeners",
            format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}"),
        );
        let advertised_port = self.advertised_ports.get(seat.index()).copied().unwrap_or(port);
        lines.insert("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{advertised_port}"));
        let (replicas, in_sync_min) = (seat.replicas().to_string(), seat.in_sync_min().to_string());
        for name in REPLICATION_FACTORS {
            lines.insert(name, replicas.clone());
        }
        for name in IN_SYNC_MINIMA {
            lines.insert(name, in_sync_min.clone());
        }
        let data = self.directory.join("data");
        // A lone broker whose heartbeat is late is shut out, and its partitions are without a leader: on a busy machine
        // that must not happen soon. But a killed broker registers again only after its old session has run out, and
        // where there are others they lead only after that.
        let is_patient = seat.is_lone() && !data.exists();
        let session_timeout_ms = if is_patient { "60000" } else { "6000" };
        lines.insert("broker.session.timeout.ms", session_timeout_ms.to_owned());
        lines.insert("log.dirs", data.display().to_string());
        let jaas = self.login.as_ref().map(|mechanism| add_login(&mut lines, mechanism, seat.login_port));
        if let Some((name, value)) = &jaas {
            lines.insert(name, value.clone());
        }
        for (name, value) in &self.properties {
            lines.insert(name, value.clone());
        }
        lines.into_iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name}={value}");
            text
        })
    }
}

/// Adds the second listener. Returns the line that says how its clients are known.
fn add_login(lines: &mut BTreeMap<&str, String>, mechanism: &str, port: u16) -> (String, String) {
    for name in ["listeners", "advertised.listeners"] {
        let _ = write!(lines.entry(name).or_default(), ",SASL_PLAINTEXT://127.0.0.1:{port}");
    }
    let protocols = lines.entry("listener.security.protocol.map").or_default();
    protocols.push_str(",SASL_PLAINTEXT:SASL_PLAINTEXT");
    lines.insert("sasl.enabled.mechanisms", mechanism.to_owned());
    let name = format!("listener.name.sasl_plaintext.{}.sasl.jaas.config", mechanism.to_lowercase());
    (name, "org.apache.kafka.common.security.scram.ScramLoginModule required;".to_owned())
}

const REPLICATION_FACTORS: [&str; 4] = [
    "default.replication.factor",
    "offsets.topic.replication.factor",
    "share.coordinator.state.topic.replication.factor",
    "transaction.state.log.replication.factor",
];

const IN_SYNC_MINIMA: [&str; 3] =
    ["min.insync.replicas", "share.coordinator.state.topic.min.isr", "transaction.state.log.min.isr"];

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
    ("num.partitions", "4"),
    ("offsets.topic.num.partitions", "4"),
    ("process.roles", "broker,controller"),
    ("share.coordinator.state.topic.num.partitions", "1"),
    ("transaction.state.log.num.partitions", "4"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_of_the_caller_replace_ours() {
        let settings = BrokerSettings::new("/somewhere").property("num.partitions", "9");
        let text = settings.render(&Seat {
            node: 1,
            port: 20_001,
            login_port: 20_003,
            controller_ports: vec![20_002],
        });
        assert!(text.contains("num.partitions=9\n"), "{text}");
        assert!(!text.lines().any(|line| line == "num.partitions=4"), "{text}");
        assert!(text.contains("advertised.listeners=PLAINTEXT://127.0.0.1:20001\n"), "{text}");
        assert!(text.contains("controller.quorum.voters=1@127.0.0.1:20002\n"), "{text}");
        assert!(text.contains("log.dirs=/somewhere/data\n"), "{text}");
        assert!(text.contains("transaction.state.log.replication.factor=1\n"), "{text}");
        assert!(text.contains("min.insync.replicas=1\n"), "{text}");
    }

    #[test]
    fn three_brokers_replicate_to_each_other_and_are_advertised_as_told() {
        let settings = BrokerSettings::new("/somewhere").advertise([1, 2, 3]);
        let text = settings.render(&Seat {
            node: 2,
            port: 20_002,
            login_port: 20_003,
            controller_ports: vec![7, 8, 9],
        });
        for line in [
            "node.id=2",
            "listeners=PLAINTEXT://127.0.0.1:20002,CONTROLLER://127.0.0.1:8",
            "advertised.listeners=PLAINTEXT://127.0.0.1:2",
            "controller.quorum.voters=1@127.0.0.1:7,2@127.0.0.1:8,3@127.0.0.1:9",
            "default.replication.factor=3",
            "offsets.topic.replication.factor=3",
            "transaction.state.log.replication.factor=3",
            "transaction.state.log.min.isr=2",
            "min.insync.replicas=2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        }
    }

    #[test]
    fn clients_that_log_in_have_a_listener_of_their_own() {
        let seat = Seat { node: 1, port: 20_001, login_port: 20_003, controller_ports: vec![20_002] };
        let text = BrokerSettings::new("/somewhere").login("SCRAM-SHA-256").render(&seat);
        let listeners = "PLAINTEXT://127.0.0.1:20001,SASL_PLAINTEXT://127.0.0.1:20003";
        assert!(text.contains(&format!("advertised.listeners={listeners}\n")), "{text}");
        assert!(text.contains("listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config="), "{text}");
        assert!(!BrokerSettings::new("/somewhere").render(&seat).contains("sasl"));
    }
}
