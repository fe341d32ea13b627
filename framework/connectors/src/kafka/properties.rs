//! librdkafka's properties: ours, the user's, and which may not be changed.

use std::collections::BTreeMap;

use flott_core::{Error, ErrorKind, Result};
use rdkafka::ClientConfig;

use super::client::KnownBrokers;

/// Properties that a user gave, brokers included. Clones share the brokers that metadata have named since.
#[derive(Clone)]
pub(super) struct Properties {
    given: BTreeMap<String, String>,
    known_brokers: KnownBrokers,
}

const BOOTSTRAP: &str = "bootstrap.servers";

/// As Kafka's own clients: librdkafka may put the next try off by 10 s after a broker was away for a while.
pub(super) const RECONNECT: (&str, &str) = ("reconnect.backoff.max.ms", "1000");

/// What a client would collect without end, since nobody asks for it.
const NOT_SERVED: [Reserved; 1] = [("statistics.interval.ms", "nobody reads these statistics")];

/// A property that is ours alone, with what to use instead.
pub(super) type Reserved = (&'static str, &'static str);

impl Properties {
    pub(super) fn new(brokers: impl Into<String>) -> Self {
        Self {
            given: BTreeMap::from([(BOOTSTRAP.to_owned(), brokers.into())]),
            known_brokers: KnownBrokers::default(),
        }
    }

    pub(super) fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.given.insert(key.into(), value.into());
    }

    /// The brokers, for messages.
    pub(super) fn brokers(&self) -> &str {
        self.given.get(BOOTSTRAP).map_or("", String::as_str)
    }

    pub(super) fn given(&self) -> &BTreeMap<String, String> {
        &self.given
    }

    pub(super) fn known_brokers(&self) -> &KnownBrokers {
        &self.known_brokers
    }

    /// The brokers that a new client begins with: those given, and those that metadata have named since, so that a restarted
    /// task finds the cluster when the given addresses have gone.
    fn bootstrap(&self) -> String {
        let given = self.brokers();
        let known = self.known_brokers.addresses().into_iter().map(|address| address.to_string());
        let is_given = |known: &String| given.split(',').any(|given| given.trim() == known);
        known.filter(|known| !is_given(known)).fold(given.to_owned(), |all, known| all + "," + &known)
    }

    /// `defaults`, overridden by what the user gave, overridden by `fixed`.
    pub(super) fn client_config(
        &self,
        defaults: &[(&str, &str)],
        fixed: &[(&str, &str)],
        reserved: &[Reserved],
    ) -> Result<ClientConfig> {
        for (key, instead) in reserved.iter().chain(&NOT_SERVED) {
            if self.given.contains_key(*key) {
                let text = format!("Kafka property {key} cannot be set: {instead}");
                return Err(Error::new(ErrorKind::Settings, text));
            }
        }
        let mut config = ClientConfig::new();
        for (key, value) in defaults {
            config.set(*key, *value);
        }
        for (key, value) in &self.given {
            config.set(key, value);
        }
        config.set(BOOTSTRAP, self.bootstrap());
        for (key, value) in fixed {
            config.set(*key, *value);
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_override_defaults_and_not_what_is_reserved() {
        let mut properties = Properties::new("a:1");
        properties.set("linger.ms", "7");
        let reserved = [("acks", "it follows from the guarantee")];
        let config =
            properties.client_config(&[("linger.ms", "5"), ("x", "1")], &[("y", "2")], &reserved).unwrap();
        let read = |key| config.get(key).unwrap();
        assert_eq!(
            [read("bootstrap.servers"), read("linger.ms"), read("x"), read("y")],
            ["a:1", "7", "1", "2"]
        );
        properties.set("acks", "0");
        let error = properties.client_config(&[], &[], &reserved).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.to_string().contains("acks") && error.to_string().contains("follows"), "{error}");
    }
}
