//! A proof from a secret that all processes of a cluster share.
//!
//! An Ed25519 key is derived from the secret. Its public half goes over the wire as a raw public key (RFC 7250), so that
//! there is no certificate to make, to parse or to expire: whoever signs a handshake with that key knows the secret.
//! The public key can be learnt by a stranger who speaks TLS, who could then try secrets against it offline; so a secret
//! is long and random.

use std::{fmt, sync::Arc};

use flott_core::{Error, ErrorKind, Result, ResultExt};
use ring::{digest, hkdf};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, ring::sign::any_eddsa_type, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SigningKey},
};

use super::{
    proof::{Proof, provider, signature_methods},
    refusal,
};

/// A secret has as many bytes at least: nobody can try all of so many.
const SECRET_BYTES_MIN: usize = 32;

/// Secrets that are accepted at a time: the current one, and some while it is being changed.
const SECRETS_MAX: usize = 8;

/// Names what the key is for. Another use, or another way to derive it, gets another label.
const SALT: &[u8] = b"flott cluster secret, version 1";
const LABEL: &[u8] = b"ed25519 key";

/// An Ed25519 key in PKCS #8 (RFC 8410) without its 32 bytes.
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Makes a proof of what a secret file contains: a secret on each line. The first is this process's own; peers may have
/// any of them.
///
/// # Errors
/// [`ErrorKind::Settings`] when a secret is too short or there are too many.
pub(super) fn proof(file: &[u8]) -> Result<Proof> {
    let secrets = parse(file)?;
    let keys: Vec<_> = secrets.iter().map(|secret| derive(secret)).collect::<Result<_>>()?;
    let accepted = Accepted::new(keys.iter().map(|key| public_key(&**key)).collect::<Result<_>>()?);
    let own = Arc::clone(&keys[0]);
    let public = CertificateDer::from(accepted.keys[0].clone());
    let description = format!("secret {}", fingerprint(&public));
    let certified = Arc::new(CertifiedKey::new(vec![public], own));
    let accepted = Arc::new(accepted);
    Proof::new(
        (
            Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&certified))),
            Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified)),
        ),
        (Arc::clone(&accepted) as Arc<dyn ServerCertVerifier>, accepted),
        description,
    )
}

fn parse(file: &[u8]) -> Result<Vec<&[u8]>> {
    let lines = file.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    let secrets: Vec<_> = lines.filter(|(_, line)| !line.is_empty()).collect();
    let advice = "`openssl rand -hex 32 > FILE` makes a file with one";
    if secrets.is_empty() {
        return Err(refusal(format!("`secret_file` is empty; {advice}")));
    }
    if secrets.len() > SECRETS_MAX {
        return Err(refusal(format!(
            "`secret_file` has more than {SECRETS_MAX} lines, each of which is a secret"
        )));
    }
    for (number, secret) in &secrets {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(refusal(format!(
                "line {} of `secret_file` has {} bytes; a secret has at least {SECRET_BYTES_MIN}, so that nobody can \
                 guess it: {advice}",
                number + 1,
                secret.len()
            )));
        }
    }
    Ok(secrets.into_iter().map(|(_, secret)| secret).collect())
}

fn derive(secret: &[u8]) -> Result<Arc<dyn SigningKey>> {
    let unusable = "cannot derive a key from the secret";
    let failed = |_| Error::internal(unusable);
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret);
    let mut pkcs8 = [0; PKCS8.len() + 32];
    let (head, seed) = pkcs8.split_at_mut(PKCS8.len());
    head.copy_from_slice(&PKCS8);
    key.expand(&[LABEL], hkdf::HKDF_SHA256).map_err(failed)?.fill(seed).map_err(failed)?;
    any_eddsa_type(&PrivatePkcs8KeyDer::from(&pkcs8[..])).or_error(ErrorKind::Internal, unusable)
}

fn public_key(key: &dyn SigningKey) -> Result<Vec<u8>> {
    let public = key.public_key().ok_or_else(|| Error::internal("an Ed25519 key without its public half"))?;
    Ok(public.as_ref().to_vec())
}

/// A few digits by which people can tell whether two processes have the same secret. It is made of the public key, which
/// every peer sees.
fn fingerprint(public_key: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, public_key);
    digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Accepts peers that prove one of the public keys.
#[derive(Debug)]
struct Accepted {
    /// Each a SubjectPublicKeyInfo in DER. The first is this process's own.
    keys: Vec<Vec<u8>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Accepted {
    fn new(keys: Vec<Vec<u8>>) -> Self {
        Self { keys, algorithms: provider().signature_verification_algorithms }
    }

    fn check(&self, key: &[u8]) -> Result<(), rustls::Error> {
        if self.keys.iter().any(|accepted| accepted == key) {
            return Ok(());
        }
        let another = AnotherSecret { theirs: fingerprint(key), ours: fingerprint(&self.keys[0]) };
        Err(CertificateError::Other(OtherError(Arc::new(another))).into())
    }

    fn check_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// The reason to refuse a peer.
#[derive(Debug)]
struct AnotherSecret {
    theirs: String,
    ours: String,
}

impl fmt::Display for AnotherSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it has another secret ({}) than this process ({})", self.theirs, self.ours)
    }
}

impl std::error::Error for AnotherSecret {}

impl ServerCertVerifier for Accepted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    signature_methods!();

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Accepted {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    signature_methods!();

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_secret_is_long_and_white_space_around_it_does_not_count() {
        let parsed = |text: &str| {
            parse(text.as_bytes()).map(|secrets| secrets.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>())
        };
        let [plain, padded] =
            [SECRET.to_owned(), format!("\n  {SECRET}\r\n\n")].map(|text| parsed(&text).unwrap());
        assert_eq!(plain, padded);
        assert_eq!(parsed(&format!("{SECRET}\n{SECRET}x\n")).unwrap().len(), 2);
        let error = parsed(&format!("{SECRET}\nshort")).unwrap_err().to_string();
        assert!(
            error.contains("line 2 of `secret_file` has 5 bytes") && error.contains("openssl rand"),
            "{error}"
        );
        assert!(!error.contains("short\""), "{error}");
        assert!(parsed(" \n").unwrap_err().to_string().contains("openssl rand -hex 32"));
        assert!(parsed(&format!("{SECRET}\n").repeat(9)).is_err());
    }

    /// A change here would part a cluster whose processes are replaced one after the other.
    #[test]
    fn a_secret_gives_the_same_key_for_ever() {
        let key = public_key(&*derive(SECRET.as_bytes()).unwrap()).unwrap();
        assert_eq!(fingerprint(&key), "a279c4cef439");
        let other = public_key(&*derive(b"another").unwrap()).unwrap();
        assert_ne!(key, other);
    }

    #[test]
    fn only_accepted_keys_pass_and_the_refusal_names_both() {
        let public = |secret: &str| public_key(&*derive(secret.as_bytes()).unwrap()).unwrap();
        let accepted = Accepted::new(vec![public("new"), public("old")]);
        assert!(accepted.check(&public("new")).is_ok());
        assert!(accepted.check(&public("old")).is_ok());
        let text = accepted.check(&public("other")).unwrap_err().to_string();
        assert!(text.contains(&fingerprint(&public("other"))), "{text}");
        assert!(text.contains(&fingerprint(&public("new"))), "{text}");
        assert!(accepted.check(b"garbage").is_err());
        assert!(accepted.check(b"").is_err());
    }
}
