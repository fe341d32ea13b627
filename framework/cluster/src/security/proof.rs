//! The part that both kinds of proof share: TLS 1.3 alone, both ends proven, no shortcut past the proof.

use std::sync::Arc;

use flott_core::{ErrorKind, Result, ResultExt};
use rustls::{
    ClientConfig, ServerConfig,
    client::{ResolvesClientCert, Resumption, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    server::{NoServerSessionStorage, ResolvesServerCert, danger::ClientCertVerifier},
    version::TLS13,
};

/// The TLS settings of one proof, for both ends of a connection.
pub(super) struct Proof {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    /// For people: two processes with the same one belong together.
    pub(super) description: String,
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl Proof {
    pub(super) fn new(
        own: (Arc<dyn ResolvesClientCert>, Arc<dyn ResolvesServerCert>),
        peers: (Arc<dyn ServerCertVerifier>, Arc<dyn ClientCertVerifier>),
        description: String,
    ) -> Result<Self> {
        let unusable = "TLS";
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .or_error(ErrorKind::Internal, unusable)?
            .dangerous()
            .with_custom_certificate_verifier(peers.0)
            .with_client_cert_resolver(own.0);
        // A resumed session would count on a proof that may not be accepted any more.
        client.resumption = Resumption::disabled();
        // A stranger who listens in learns no name.
        client.enable_sni = false;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .or_error(ErrorKind::Internal, unusable)?
            .with_client_cert_verifier(peers.1)
            .with_cert_resolver(own.1);
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self { client: Arc::new(client), server: Arc::new(server), description })
    }
}

/// The methods that rustls asks of the verifier of a server and of the verifier of a client in the same words. The type
/// itself has `check_signature`, for TLS 1.3, and `schemes`.
macro_rules! signature_methods {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &rustls::pki_types::CertificateDer<'_>,
            _signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("TLS 1.2".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.check_signature(message, certificate, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.schemes()
        }
    };
}
pub(super) use signature_methods;
