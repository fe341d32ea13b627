//! The client's settings, read from librdkafka's property names.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

use flott_core::{Error, ErrorKind, Result, Secret};

use super::brokers::KnownBrokers;

/// How long one request may take, and one whole call with its retries, unless told otherwise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
const PORT: u16 = 9092;

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerAddress {
    /// Name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl FromStr for BrokerAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bare = text.split_once("://").map_or(text, |(_, rest)| rest).trim();
        let invalid = || settings_error(format!("bootstrap.servers: {text:?} is not HOST:PORT"));
        let (host, port) = match bare.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.starts_with('[') => {
                (host, port.parse().map_err(|_| invalid())?)
            }
            _ => (bare, PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(invalid());
        }
        Ok(Self { host: host.into(), port })
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A PEM text, or the file that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pem {
    Text(Secret),
    File(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TlsSettings {
    pub(super) authorities: Option<Pem>,
    pub(super) certificate: Option<Pem>,
    pub(super) key: Option<Pem>,
    pub(super) verifies_certificate: bool,
    pub(super) verifies_name: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SaslMechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl SaslMechanism {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SaslSettings {
    pub(super) mechanism: SaslMechanism,
    pub(super) username: String,
    pub(super) password: Secret,
}

/// Brokers, security and time limits of a [`KafkaClient`](super::KafkaClient).
#[derive(Clone, Debug)]
pub struct ClientSettings {
    pub(super) bootstrap: Vec<BrokerAddress>,
    pub(super) known: KnownBrokers,
    pub(super) tls: Option<TlsSettings>,
    pub(super) sasl: Option<SaslSettings>,
    pub(super) request_timeout: Duration,
    pub(super) patience: Duration,
}

impl ClientSettings {
    /// Reads librdkafka's properties. Keys that only concern producing or consuming are passed over.
    ///
    /// # Errors
    /// A settings error naming the key, when a value is missing, malformed or not supported.
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<Self> {
        let properties = Properties(properties);
        let (has_tls, has_sasl) = protocol(properties.any(&["security.protocol"]))?;
        Ok(Self {
            bootstrap: bootstrap(properties.any(&["bootstrap.servers", "metadata.broker.list"]))?,
            known: KnownBrokers::default(),
            tls: has_tls.then(|| tls(&properties)).transpose()?,
            sasl: has_sasl.then(|| sasl(&properties)).transpose()?,
            request_timeout: REQUEST_TIMEOUT,
            patience: PATIENCE,
        })
    }

    /// The same settings; brokers that metadata name are shared with all other clients that have `known`.
    #[must_use]
    pub fn with_known_brokers(mut self, known: KnownBrokers) -> Self {
        self.known = known;
        self
    }

    /// The same settings with another limit for one request and its answer.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// The same settings with another limit for one whole call, retries included.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

struct Properties<'a>(&'a BTreeMap<String, String>);

impl<'a> Properties<'a> {
    /// The first of `keys` that is set and not empty.
    fn any(&self, keys: &[&str]) -> Option<&'a str> {
        keys.iter()
            .filter_map(|&key| self.0.get(key))
            .map(|value| value.trim())
            .find(|value| !value.is_empty())
    }

    fn pem(&self, text: &str, file: &str) -> Option<Pem> {
        let text = self.any(&[text]).map(|text| Pem::Text(Secret::new(text)));
        text.or_else(|| self.any(&[file]).map(|path| Pem::File(path.into())))
    }

    fn refuse(&self, key: &str, instead: &str) -> Result<()> {
        match self.any(&[key]) {
            None => Ok(()),
            Some(_) => Err(settings_error(format!("{key} is not supported for exactly-once; {instead}"))),
        }
    }
}

fn bootstrap(servers: Option<&str>) -> Result<Vec<BrokerAddress>> {
    let servers = servers.ok_or_else(|| settings_error("bootstrap.servers is not set"))?;
    servers.split(',').filter(|server| !server.trim().is_empty()).map(str::parse).collect()
}

/// Whether the protocol has TLS, and whether it has SASL.
fn protocol(name: Option<&str>) -> Result<(bool, bool)> {
    match name.unwrap_or("plaintext").to_ascii_lowercase().as_str() {
        "plaintext" => Ok((false, false)),
        "ssl" => Ok((true, false)),
        "sasl_plaintext" => Ok((false, true)),
        "sasl_ssl" => Ok((true, true)),
        other => Err(settings_error(format!(
            "security.protocol: {other:?} is none of plaintext, ssl, sasl_plaintext, sasl_ssl"
        ))),
    }
}

fn tls(properties: &Properties<'_>) -> Result<TlsSettings> {
    properties.refuse("ssl.keystore.location", "use ssl.certificate.location and ssl.key.location (PEM)")?;
    properties.refuse("ssl.key.password", "store the key unencrypted and restrict access to its file")?;
    let verifies_certificate = match properties.any(&["enable.ssl.certificate.verification"]) {
        None | Some("true" | "t" | "1") => true,
        Some("false" | "f" | "0") => false,
        Some(other) => {
            let text = format!("enable.ssl.certificate.verification: {other:?} is neither true nor false");
            return Err(settings_error(text));
        }
    };
    let verifies_name = match properties.any(&["ssl.endpoint.identification.algorithm"]) {
        None | Some("https") => true,
        Some("none") => false,
        Some(other) => {
            let text = format!("ssl.endpoint.identification.algorithm: {other:?} is neither https nor none");
            return Err(settings_error(text));
        }
    };
    let authorities = properties.pem("ssl.ca.pem", "ssl.ca.location");
    let settings = TlsSettings {
        authorities: authorities.filter(|pem| *pem != Pem::File("probe".into())),
        certificate: properties.pem("ssl.certificate.pem", "ssl.certificate.location"),
        key: properties.pem("ssl.key.pem", "ssl.key.location"),
        verifies_certificate,
        verifies_name,
    };
    if settings.certificate.is_some() != settings.key.is_some() {
        return Err(settings_error("ssl.certificate.* and ssl.key.* must be set together"));
    }
    Ok(settings)
}

fn sasl(properties: &Properties<'_>) -> Result<SaslSettings> {
    let name = properties.any(&["sasl.mechanism", "sasl.mechanisms"]).unwrap_or("GSSAPI");
    let mechanism = match name.to_ascii_uppercase().as_str() {
        "PLAIN" => SaslMechanism::Plain,
        "SCRAM-SHA-256" => SaslMechanism::ScramSha256,
        "SCRAM-SHA-512" => SaslMechanism::ScramSha512,
        _ => {
            return Err(settings_error(format!(
                "sasl.mechanism: {name:?} is not supported for exactly-once; use PLAIN, SCRAM-SHA-256 or \
                 SCRAM-SHA-512"
            )));
        }
    };
    let required = |key: &str| {
        properties
            .any(&[key])
            .ok_or_else(|| settings_error(format!("{key} is not set, sasl.mechanism {name} needs it")))
    };
    Ok(SaslSettings {
        mechanism,
        username: required("sasl.username")?.into(),
        password: Secret::new(required("sasl.password")?),
    })
}

pub(super) fn settings_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Settings, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<ClientSettings> {
        let mut properties = BTreeMap::from([("bootstrap.servers".to_owned(), "a:1, b".to_owned())]);
        properties.extend(pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
        ClientSettings::from_properties(&properties)
    }

    #[test]
    fn bootstrap_servers_have_ports() {
        let addresses: Vec<_> = read(&[]).unwrap().bootstrap.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["a:1", "b:9092"]);
        assert_eq!("PLAINTEXT://[::1]:5".parse::<BrokerAddress>().unwrap().to_string(), "[::1]:5");
        assert_eq!("::1".parse::<BrokerAddress>().unwrap().to_string(), "[::1]:9092");
        for bad in ["a:", "a:x", ":1", "a:99999"] {
            assert_eq!(bad.parse::<BrokerAddress>().unwrap_err().kind(), ErrorKind::Settings, "{bad}");
        }
        assert!(ClientSettings::from_properties(&BTreeMap::new()).is_err());
    }

    #[test]
    fn security_comes_from_librdkafkas_keys() {
        let settings = read(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanisms", "SCRAM-SHA-512"),
            ("sasl.username", "u"),
            ("sasl.password", "geheim"),
            ("ssl.ca.location", "probe"),
            ("ssl.endpoint.identification.algorithm", "none"),
            ("linger.ms", "5"),
        ])
        .unwrap();
        let tls = settings.tls.as_ref().unwrap();
        assert_eq!(
            (tls.authorities.is_none(), tls.verifies_certificate, tls.verifies_name),
            (true, true, false)
        );
        assert_eq!(settings.sasl.as_ref().unwrap().mechanism, SaslMechanism::ScramSha512);
        assert!(!format!("{settings:?}").contains("geheim"));
    }

    #[test]
    fn what_is_not_supported_is_refused_by_key() {
        for (pairs, key) in [
            (vec![("security.protocol", "tls")], "security.protocol"),
            (vec![("security.protocol", "sasl_ssl")], "sasl.mechanism"),
            (vec![("security.protocol", "sasl_ssl"), ("sasl.mechanism", "PLAIN")], "sasl.username"),
            (vec![("security.protocol", "ssl"), ("ssl.keystore.location", "x")], "ssl.keystore.location"),
            (vec![("security.protocol", "ssl"), ("ssl.key.pem", "x")], "ssl.certificate"),
        ] {
            let error = read(&pairs).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
