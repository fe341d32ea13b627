//! A proof from certificates.
//!
//! Every process has a certificate of an authority that all of them know. Processes move between hosts and are reached by
//! address, so certificates are not compared with addresses: they bear a name of the cluster's own instead. A peer's must
//! bear a DNS name that the own one bears; so an authority may serve other purposes as well.

use std::sync::Arc;

use flott_core::{ErrorKind, Result, ResultExt};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{
    proof::{Proof, provider, signature_methods},
    refusal,
};

/// Makes a proof of the contents of `tls_cert`, `tls_key` and `tls_ca`.
///
/// # Errors
/// [`ErrorKind::Settings`] when one cannot be parsed, they do not belong together, or a peer would refuse them.
pub(super) fn proof(certificate: &[u8], key: &[u8], authorities: &[u8]) -> Result<Proof> {
    let chain = certificates(certificate, "tls_cert")?;
    let key = PrivateKeyDer::from_pem_slice(key).or_error(ErrorKind::Settings, "`tls_key`")?;
    let roots = roots(authorities)?;
    let names = names(&chain[0])?;
    let description = format!("certificates for {}", names.join(", "));
    let members = Arc::new(Members::new(roots, names)?);
    members.check_own(&chain)?;
    let own = CertifiedKey::from_der(chain, key, &provider())
        .or_error(ErrorKind::Settings, "`tls_cert` and `tls_key` do not belong together")?;
    let own = Arc::new(SingleCertAndKey::from(own));
    Proof::new(
        (Arc::clone(&own) as _, own),
        (Arc::clone(&members) as Arc<dyn ServerCertVerifier>, members),
        description,
    )
}

fn certificates(pem: &[u8], key: &str) -> Result<Vec<CertificateDer<'static>>> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let parsed = parsed.or_error(ErrorKind::Settings, format!("`{key}`"))?;
    if parsed.is_empty() {
        return Err(refusal(format!("`{key}`: no PEM certificate in it")));
    }
    Ok(parsed)
}

fn roots(pem: &[u8]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, "tls_ca")? {
        roots.add(certificate).or_error(ErrorKind::Settings, "`tls_ca`")?;
    }
    Ok(roots)
}

/// The DNS names that a certificate bears, wildcards left out.
fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>> {
    let parsed = webpki::EndEntityCert::try_from(certificate).or_error(ErrorKind::Settings, "`tls_cert`")?;
    let is_name = |name: &&str| ServerName::try_from((*name).to_owned()).is_ok();
    let names: Vec<_> = parsed.valid_dns_names().filter(is_name).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(refusal(
            "`tls_cert` bears no DNS name (subjectAltName); the certificates of a cluster bear one in common, such as the \
             name of the job, by which its processes know each other",
        ));
    }
    Ok(names)
}

/// Accepts certificates of the authorities that bear one of the names.
#[derive(Debug)]
struct Members {
    roots: Arc<RootCertStore>,
    names: Vec<String>,
    clients: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Members {
    fn new(roots: RootCertStore, names: Vec<String>) -> Result<Self> {
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .or_error(ErrorKind::Settings, "`tls_ca`")?;
        Ok(Self { roots, names, clients, algorithms: provider().signature_verification_algorithms })
    }

    /// Checks the own certificate as a peer would.
    fn check_own(&self, chain: &[CertificateDer<'_>]) -> Result<()> {
        let (own, intermediates) = (&chain[0], &chain[1..]);
        let now = UnixTime::now();
        self.check_server(own, intermediates, now)
            .and_then(|()| self.clients.verify_client_cert(own, intermediates, now).map(drop))
            .or_error(
                ErrorKind::Settings,
                "`tls_cert` would be refused by processes with the same `tls_ca` (it has to be valid for both the server \
                 and the client of a connection)",
            )
    }

    fn check_server(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        self.check_name(certificate)
    }

    /// Names are compared as they are: a wildcard is the name of many services, and makes none a member.
    fn check_name(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let refused = |error| rustls::Error::InvalidCertificate(error);
        let parsed = webpki::EndEntityCert::try_from(certificate)
            .map_err(|_| refused(CertificateError::BadEncoding))?;
        let is_member = |name: &str| self.names.iter().any(|own| own.eq_ignore_ascii_case(name));
        let mut names = parsed.valid_dns_names();
        if names.any(is_member) { Ok(()) } else { Err(refused(CertificateError::NotValidForName)) }
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Members {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check_server(end_entity, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    signature_methods!();
}

impl ClientCertVerifier for Members {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A process has one certificate and needs no hint; a stranger learns no authority.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.clients.verify_client_cert(end_entity, intermediates, now)?;
        self.check_name(end_entity)?;
        Ok(verified)
    }

    signature_methods!();
}
