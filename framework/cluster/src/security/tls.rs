//! TLS over the connections of a cluster.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flott_core::{Error, ErrorKind, Result};
use flott_runtime::exchange::{ByteStream, Handshake, SecureTransport};
use rustls::{CertificateError, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    ProofPlace, certificates,
    files::{Paths, Renewal, Watched, read_all, warn_if_public},
    proof::Proof,
    secret,
};

/// Bytes that are read from the network at once.
const READ_BYTES: usize = 128 * 1024;

/// Limits of what is read from a peer that was refused.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 16 * 1024;

/// Stands for every peer: proofs, not names, tell who it is. It is not sent.
const PEER_NAME: &str = "flott.invalid";

/// Opens and takes connections with the proof that the files contain at that moment.
pub(super) struct Tls {
    files: Arc<ProofFiles>,
}

/// The files of the proof, and the proof that was read last.
struct ProofFiles {
    paths: Paths,
    make: fn(&[Vec<u8>]) -> Result<Proof>,
    watched: Mutex<Watched<Arc<Proof>>>,
    /// Held by who reads the files: others go on with the proof as it is, whatever the file system does.
    reading: Mutex<()>,
}

impl Tls {
    /// # Errors
    /// [`ErrorKind::Settings`] when the files do not contain a proof.
    pub(super) fn open(place: ProofPlace) -> Result<Self> {
        let (paths, make): (Paths, fn(&[Vec<u8>]) -> Result<Proof>) = match place {
            ProofPlace::Secret(path) => {
                warn_if_public("secret_file", &path);
                (vec![("secret_file", path)], |files| secret::proof(&files[0]))
            }
            ProofPlace::Certificates { certificate, key, authorities } => {
                warn_if_public("tls_key", &key);
                let paths = vec![("tls_cert", certificate), ("tls_key", key), ("tls_ca", authorities)];
                (paths, |files| certificates::proof(&files[0], &files[1], &files[2]))
            }
        };
        let watched = Watched::new(read_all(&paths)?, |files| make(files).map(Arc::new))?;
        let files = ProofFiles { paths, make, watched: Mutex::new(watched), reading: Mutex::new(()) };
        Ok(Self { files: Arc::new(files) })
    }

    pub(super) fn description(&self) -> String {
        format!("TLS 1.3 with {}", self.files.current().description)
    }

    /// The proof that counts now.
    pub(super) async fn proof(&self) -> Arc<Proof> {
        let files = Arc::clone(&self.files);
        // Without a thread to read files on, the process is about to end.
        spawn_blocking(move || files.renewed()).await.unwrap_or_else(|_| self.files.current())
    }

    async fn accept_stream(&self, stream: TcpStream) -> Result<Box<dyn ByteStream>> {
        let proof = self.proof().await;
        let stream = BufReader::with_capacity(READ_BYTES, stream);
        let accepting = TlsAcceptor::from(Arc::clone(&proof.server)).accept(stream).into_fallible();
        match accepting.await {
            Ok(accepted) => Ok(Box::new(accepted)),
            Err((error, stream)) => {
                linger(stream).await;
                Err(refused(&error))
            }
        }
    }

    async fn dial_stream(&self, stream: TcpStream) -> Result<Box<dyn ByteStream>> {
        let proof = self.proof().await;
        let stream = BufReader::with_capacity(READ_BYTES, stream);
        let name = ServerName::try_from(PEER_NAME)?;
        let dialled = TlsConnector::from(Arc::clone(&proof.client)).connect(name, stream).await;
        Ok(Box::new(dialled.map_err(|error| refused(&error))?))
    }
}

/// Reads on for a moment. A connection that is closed with unread bytes is reset, and the reset can overtake the alert
/// by which the peer learns why.
async fn linger(mut stream: BufReader<TcpStream>) {
    let reading = async {
        let _ = stream.get_mut().shutdown().await;
        let _ = tokio::io::copy(&mut (&mut stream).take(LINGER_BYTES), &mut tokio::io::sink()).await;
    };
    let _ = timeout(LINGER_TIME, reading).await;
}

impl ProofFiles {
    fn watched(&self) -> MutexGuard<'_, Watched<Arc<Proof>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Arc<Proof> {
        Arc::clone(self.watched().made())
    }

    /// Reads the files again, unless somebody else does at this moment.
    fn renewed(&self) -> Arc<Proof> {
        if let Ok(_reading) = self.reading.try_lock() {
            let contents = read_all(&self.paths);
            let renewal = self.watched().renew(contents, |files| (self.make)(files).map(Arc::new));
            match renewal {
                Renewal::Unchanged | Renewal::StillFailing => {}
                Renewal::Renewed => {
                    let proof = self.current();
                    tracing::info!("new connections use TLS with {}", proof.description);
                }
                Renewal::Failed(reason) => {
                    tracing::warn!(
                        "the changed files for TLS cannot be used, what they contained before is: {reason}"
                    );
                }
            }
        }
        self.current()
    }
}

impl SecureTransport for Tls {
    fn accept(&self, stream: TcpStream) -> Handshake<'_> {
        Box::pin(self.accept_stream(stream))
    }

    fn dial(&self, stream: TcpStream) -> Handshake<'_> {
        Box::pin(self.dial_stream(stream))
    }
}

/// The meaning of an error of TLS, in the handshake or when the first bytes are read: the end that has opened a connection
/// learns only then that the other one refuses it. The peer has been sent an alert, at most.
pub(super) fn refused(error: &io::Error) -> Error {
    use rustls::Error as Tls;
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>());
    let settings = |text: String| Error::new(ErrorKind::Settings, text);
    match tls {
        Some(Tls::InvalidCertificate(CertificateError::Other(reason))) => settings(reason.to_string()),
        Some(Tls::InvalidCertificate(reason)) => {
            settings(format!("its certificate does not prove that it belongs to this cluster: {reason}"))
        }
        Some(Tls::AlertReceived(alert)) => settings(format!(
            "it does not accept this process ({alert:?}): its secret or certificates are others, or its version"
        )),
        Some(Tls::NoCertificatesPresented) => settings("it proves nothing".to_owned()),
        Some(Tls::PeerIncompatible(reason)) => settings(format!(
            "its TLS is of another kind ({reason:?}): it has certificates and this process a secret, or the reverse, or it \
             is no process of a cluster"
        )),
        Some(Tls::InvalidMessage(_)) => settings(
            "it does not speak TLS: it was started without `secret_file` or `tls_cert`, or is no process of a cluster"
                .to_owned(),
        ),
        _ if error.kind() == io::ErrorKind::UnexpectedEof => {
            Error::transient("it closed the connection while TLS was being set up")
        }
        _ => Error::transient(format!("TLS could not be set up: {error}")),
    }
}
