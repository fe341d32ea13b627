//! TLS for connections: rustls on ring, with librdkafka's meaning of the settings.

use std::sync::Arc;

use flott_core::{ErrorKind, Result, ResultExt};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_rustls::TlsConnector;

use super::settings::{Pem, TlsSettings, settings_error};

/// What opens TLS over a TCP stream.
pub(super) fn connector(settings: &TlsSettings) -> Result<TlsConnector> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .or_error(ErrorKind::Internal, "TLS versions")?
        .dangerous()
        .with_custom_certificate_verifier(verifier(settings, provider)?);
    let config = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => builder
            .with_client_auth_cert(certificates(certificate, "ssl.certificate")?, private_key(key)?)
            .or_error(ErrorKind::Settings, "ssl.certificate and ssl.key")?,
        _ => builder.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn verifier(settings: &TlsSettings, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>> {
    if !settings.verifies_certificate {
        return Ok(Arc::new(Lenient { provider, inner: None }));
    }
    let roots = Arc::new(authorities(settings.authorities.as_ref())?);
    let inner = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .build()
        .or_error(ErrorKind::Settings, "ssl.ca")?;
    if settings.verifies_name {
        return Ok(inner);
    }
    Ok(Arc::new(Lenient { provider, inner: Some(inner) }))
}

fn authorities(pem: Option<&Pem>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = pem else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(settings_error(
                "no certificate authorities found on this system; install ca-certificates or set ssl.ca.location",
            ));
        }
        return Ok(roots);
    };
    for certificate in certificates(pem, "ssl.ca")? {
        roots.add(certificate).or_error(ErrorKind::Settings, "ssl.ca")?;
    }
    Ok(roots)
}

fn certificates(pem: &Pem, key: &str) -> Result<Vec<CertificateDer<'static>>> {
    let text = read(pem, key)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let parsed = parsed.or_error(ErrorKind::Settings, key)?;
    if parsed.is_empty() {
        return Err(settings_error(format!("{key}: no PEM certificate in it")));
    }
    Ok(parsed)
}

fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(&read(pem, "ssl.key")?).or_error(ErrorKind::Settings, "ssl.key")
}

fn read(pem: &Pem, key: &str) -> Result<Vec<u8>> {
    match pem {
        Pem::Text(text) => Ok(text.reveal().replace("\\n", "\n").into_bytes()),
        Pem::File(path) => {
            std::fs::read(path).or_error(ErrorKind::Settings, format!("{key}.location {}", path.display()))
        }
    }
}

/// Leaves out what the user switched off: the name check, or (without `inner`) every check of the certificate.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    inner: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
