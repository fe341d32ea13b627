//! Authentication of the processes of a cluster.
//!
//! [`Security`] is what a process was told in its settings: TLS 1.3 with a proof of both ends, or plain TCP, which binds
//! to loopback only unless `insecure` is set. [`tls`] opens connections; a proof comes from a shared [`secret`] or from
//! [`certificates`], and both are read again when their [`files`] change.

#[cfg(feature = "tls")]
mod certificates;
#[cfg(feature = "tls")]
mod files;
#[cfg(feature = "tls")]
mod proof;
#[cfg(feature = "tls")]
mod secret;
#[cfg(feature = "tls")]
mod tls;
#[cfg(all(test, feature = "tls"))]
mod tls_tests;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use flott_core::{Error, ErrorKind, Result, ResultExt};
use flott_runtime::exchange::{ByteStream, SecureTransport};
#[cfg(feature = "tls")]
use tokio::io::AsyncBufReadExt;
use tokio::{
    io::AsyncBufRead,
    net::{TcpListener, TcpStream, lookup_host},
};

use crate::{rpc::frame, settings::ClusterSettings};

/// The source of the proof of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ProofPlace {
    /// A file with secrets that all processes of the cluster share.
    Secret(PathBuf),
    /// PEM files.
    Certificates { certificate: PathBuf, key: PathBuf, authorities: PathBuf },
}

/// Protection of the connections of a process.
#[derive(Clone)]
pub(crate) struct Security {
    transport: Option<Arc<dyn SecureTransport>>,
    is_insecure: bool,
    /// For people; None: nothing is secured.
    description: Option<String>,
}

impl Security {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] when the settings contradict each other, or a file cannot be used.
    pub(crate) fn open(settings: &ClusterSettings) -> Result<Self> {
        let is_insecure = settings.insecure;
        match proof_place(settings)? {
            None => Ok(Self { transport: None, is_insecure, description: None }),
            Some(_) if is_insecure => Err(refusal(
                "`insecure` contradicts `secret_file` and `tls_cert`: leave it out, or leave those out",
            )),
            Some(place) => Self::with_proof(place),
        }
    }

    /// For a process that speaks to nobody but itself.
    pub(crate) fn none() -> Self {
        Self { transport: None, is_insecure: false, description: None }
    }

    #[cfg(feature = "tls")]
    fn with_proof(place: ProofPlace) -> Result<Self> {
        let tls = tls::Tls::open(place)?;
        let description = Some(tls.description());
        Ok(Self { transport: Some(Arc::new(tls)), is_insecure: false, description })
    }

    #[cfg(not(feature = "tls"))]
    fn with_proof(_place: ProofPlace) -> Result<Self> {
        Err(refusal(
            "this binary was built without TLS, so that it cannot use `secret_file` or `tls_cert`: build it with the \
             feature `tls` of flott, which is a default feature",
        ))
    }

    /// Waits for the first byte of the answer to what was sent over a connection that [`Self::dial`] has opened.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] when the peer refuses this process, or secures its connections in another way.
    pub(crate) async fn expect_answer(&self, reader: &mut (impl AsyncBufRead + Unpin)) -> Result<()> {
        #[cfg(feature = "tls")]
        if self.transport.is_some() {
            return reader.fill_buf().await.map(drop).map_err(|error| tls::refused(&error));
        }
        frame::expect_no_tls(reader).await
    }

    /// The transport between TaskManagers; none if it is plain TCP.
    pub(crate) fn transport(&self) -> Option<Arc<dyn SecureTransport>> {
        self.transport.clone()
    }

    /// The protection of connections, for people; none if they have none.
    pub(crate) fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Listens on an address, unless it can be reached from elsewhere and nothing secures it.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`]: what to do instead.
    pub(crate) async fn listen(&self, address: &str, context: &str) -> Result<TcpListener> {
        let addresses = lookup_host(address).await.or_error(ErrorKind::Settings, context)?;
        let addresses: Vec<_> = addresses.collect();
        for address in &addresses {
            self.allow(*address).map_err(|error| error.context(context))?;
        }
        TcpListener::bind(&addresses[..]).await.or_error(ErrorKind::Settings, context)
    }

    /// Refuses an own address that is not the loopback interface's when nothing secures what goes over it.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`]: what to do instead.
    pub(crate) fn allow(&self, own: SocketAddr) -> Result<()> {
        if self.transport.is_some() || self.is_insecure || own.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        Err(refusal(format!(
            "{} can be reached from other machines, and nothing keeps strangers out: whoever connects could read the \
             job's parameters and run as a TaskManager. Start all processes of the job with `--secret-file FILE` \
             (`openssl rand -hex 32 > FILE` makes one) or with `--tls-cert`, `--tls-key` and `--tls-ca`; or, where the \
             network itself keeps strangers out, with `--insecure`",
            own.ip()
        )))
    }

    /// Returns `true` if an unsecured port at this address is worth a warning.
    pub(crate) fn is_exposed(&self, own: SocketAddr) -> bool {
        self.transport.is_none() && !own.ip().to_canonical().is_loopback()
    }

    /// Secures a connection that was taken.
    ///
    /// # Errors
    /// When the peer does not prove itself.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<Box<dyn ByteStream>> {
        match &self.transport {
            Some(transport) => transport.accept(stream).await,
            None => Ok(Box::new(stream)),
        }
    }

    /// Secures a connection that was opened.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] when the peer does not prove itself.
    pub(crate) async fn dial(&self, stream: TcpStream) -> Result<Box<dyn ByteStream>> {
        match &self.transport {
            Some(transport) => transport.dial(stream).await,
            None => Ok(Box::new(stream)),
        }
    }
}

fn refusal(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Settings, message)
}

fn proof_place(settings: &ClusterSettings) -> Result<Option<ProofPlace>> {
    let certificates =
        [("tls_cert", &settings.tls_cert), ("tls_key", &settings.tls_key), ("tls_ca", &settings.tls_ca)];
    let missing: Vec<_> =
        certificates.iter().filter(|(_, path)| path.is_empty()).map(|(key, _)| format!("`{key}`")).collect();
    match (settings.secret_file.is_empty(), missing.len()) {
        (true, 3) => Ok(None),
        (false, 3) => Ok(Some(ProofPlace::Secret(PathBuf::from(&settings.secret_file)))),
        (true, 0) => Ok(Some(ProofPlace::Certificates {
            certificate: PathBuf::from(&settings.tls_cert),
            key: PathBuf::from(&settings.tls_key),
            authorities: PathBuf::from(&settings.tls_ca),
        })),
        (true, _) => Err(refusal(format!(
            "`tls_cert`, `tls_key` and `tls_ca` go together; {} is missing",
            missing.join(" and ")
        ))),
        (false, _) => Err(refusal("`secret_file` and `tls_cert` exclude each other: choose one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(insecure: bool) -> Security {
        Security::open(&ClusterSettings { insecure, ..Default::default() }).unwrap()
    }

    #[test]
    fn without_a_proof_only_loopback_is_allowed() {
        let is_allowed = |insecure: bool, address: &str| plain(insecure).allow(address.parse().unwrap());
        for address in ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(is_allowed(false, address).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.7:1", "[fd00::2]:1", "[::ffff:10.0.0.7]:1"] {
            let error = is_allowed(false, address).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings, "{address}");
            for way in ["--secret-file", "--tls-cert", "--insecure"] {
                assert!(error.to_string().contains(way), "{error}");
            }
            assert!(is_allowed(true, address).is_ok(), "{address}");
        }
    }

    #[tokio::test]
    async fn a_refused_address_is_not_bound() {
        let error = plain(false).listen("0.0.0.0:0", "cannot listen").await.unwrap_err();
        assert!(error.to_string().starts_with("cannot listen: 0.0.0.0 can be reached"), "{error}");
        assert!(plain(false).listen("localhost:0", "cannot listen").await.is_ok());
        assert!(plain(true).listen("0.0.0.0:0", "cannot listen").await.is_ok());
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let place = |set: &[(&str, &str)]| {
            let mut settings = serde_json::to_value(ClusterSettings::default()).unwrap();
            for (key, value) in set {
                settings[*key] = (*value).into();
            }
            proof_place(&serde_json::from_value(settings).unwrap())
        };
        assert_eq!(place(&[]).unwrap(), None);
        assert_eq!(place(&[("secret_file", "s")]).unwrap(), Some(ProofPlace::Secret("s".into())));
        let three = [("tls_cert", "c"), ("tls_key", "k"), ("tls_ca", "a")];
        let certificates =
            ProofPlace::Certificates { certificate: "c".into(), key: "k".into(), authorities: "a".into() };
        assert_eq!(place(&three).unwrap(), Some(certificates));
        let error = place(&three[..1]).unwrap_err().to_string();
        assert!(error.contains("`tls_key` and `tls_ca` is missing"), "{error}");
        let error = place(&[("secret_file", "s"), ("tls_ca", "a")]).unwrap_err().to_string();
        assert!(error.contains("exclude each other"), "{error}");
        let both = ClusterSettings { secret_file: "s".into(), insecure: true, ..Default::default() };
        assert!(Security::open(&both).err().unwrap().to_string().contains("contradicts"));
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn without_the_feature_the_settings_are_refused_by_its_name() {
        let settings = ClusterSettings { secret_file: "s".into(), ..Default::default() };
        let error = Security::open(&settings).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.to_string().contains("the feature `tls` of flott"), "{error}");
    }
}
