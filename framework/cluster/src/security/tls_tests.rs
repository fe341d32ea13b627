#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use flott_core::{ErrorKind, Result};
use flott_runtime::exchange::{ByteStream, SecureTransport};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{ProofPlace, Security, certificates, proof::Proof, secret as by_secret, tls::Tls};

const FIRST: &str = "first secret, long enough to be one";
const SECOND: &str = "second secret, long enough to be one";

fn secret(directory: &Path, text: &str) -> Tls {
    let path = directory.join("secret");
    fs::write(&path, text).unwrap();
    Tls::open(ProofPlace::Secret(path)).unwrap()
}

/// Connects two processes and returns the results at the end that opens and at the end that accepts. A word goes
/// each way.
async fn meet(dialler: &Tls, acceptor: &Tls) -> (Result<()>, Result<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let dialling = async {
        let stream = TcpStream::connect(address).await?;
        talk(dialler.dial(stream).await?).await
    };
    let accepting = async {
        let stream = listener.accept().await?.0;
        talk(acceptor.accept(stream).await?).await
    };
    let both = timeout(Duration::from_secs(10), async { tokio::join!(dialling, accepting) });
    both.await.expect("both ends come to an end")
}

async fn talk(mut stream: Box<dyn ByteStream>) -> Result<()> {
    stream.write_all(b"word").await?;
    stream.flush().await?;
    let mut heard = [0; 4];
    stream.read_exact(&mut heard).await?;
    assert_eq!(&heard, b"word");
    Ok(())
}

#[tokio::test]
async fn processes_with_one_secret_meet() {
    let directory = TempDir::new().unwrap();
    let other = TempDir::new().unwrap();
    let (a, b) = (secret(directory.path(), FIRST), secret(other.path(), &format!(" {FIRST}\n")));
    let (dialled, accepted) = meet(&a, &b).await;
    assert!(dialled.is_ok() && accepted.is_ok(), "{dialled:?} {accepted:?}");
}

#[tokio::test]
async fn another_secret_is_refused_and_both_ends_know_why() {
    let (a_file, b_file) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (a, b) = (secret(a_file.path(), FIRST), secret(b_file.path(), SECOND));
    let (dialled, accepted) = meet(&a, &b).await;
    let (dialled, accepted) = (dialled.unwrap_err(), accepted.unwrap_err());
    assert_eq!((dialled.kind(), accepted.kind()), (ErrorKind::Settings, ErrorKind::Settings));
    assert!(dialled.to_string().contains("another secret"), "{dialled}");
    assert!(accepted.to_string().contains("does not accept this process"), "{accepted}");
}

#[tokio::test]
async fn a_secret_is_changed_without_a_gap() {
    let (a_file, b_file) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (a, b) = (secret(a_file.path(), FIRST), secret(b_file.path(), FIRST));
    let (both, other_way) = (format!("{FIRST}\n{SECOND}"), format!("{SECOND}\n{FIRST}"));
    for (of_a, of_b) in [
        (FIRST, FIRST),
        (&both, FIRST),
        (&both, &both),
        (&both, &other_way),
        (&other_way, &other_way),
        (SECOND, &other_way),
        (SECOND, SECOND),
    ] {
        fs::write(a_file.path().join("secret"), of_a).unwrap();
        fs::write(b_file.path().join("secret"), of_b).unwrap();
        for (dialler, acceptor) in [(&a, &b), (&b, &a)] {
            let (dialled, accepted) = meet(dialler, acceptor).await;
            assert!(dialled.is_ok() && accepted.is_ok(), "{of_a} {of_b}: {dialled:?} {accepted:?}");
        }
    }
    fs::write(a_file.path().join("secret"), FIRST).unwrap();
    assert!(meet(&a, &b).await.0.is_err(), "the first secret counts no more");
    // Of no use, gone: the last good one counts on.
    fs::write(a_file.path().join("secret"), SECOND).unwrap();
    assert!(meet(&a, &b).await.0.is_ok());
    fs::write(a_file.path().join("secret"), "short").unwrap();
    assert!(meet(&a, &b).await.0.is_ok());
    fs::remove_file(a_file.path().join("secret")).unwrap();
    assert!(meet(&b, &a).await.0.is_ok());
}

/// In TLS 1.3 the end that opens a connection is done before the other one has looked at its proof.
#[tokio::test]
async fn a_process_that_is_refused_learns_it_with_the_answer() {
    let (a_file, b_file) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let dialler = secret(a_file.path(), &format!("{FIRST}\n{SECOND}"));
    let acceptor = secret(b_file.path(), SECOND);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let accepting = async { acceptor.accept(listener.accept().await.unwrap().0).await };
    let dialling = async {
        let mut stream = dialler.dial(stream).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.flush().await.unwrap();
        let mut reader = BufReader::new(stream);
        let security = Security { transport: Some(Arc::new(dialler)), ..Security::none() };
        security.expect_answer(&mut reader).await.unwrap_err()
    };
    let (accepted, refused) = tokio::join!(accepting, dialling);
    assert!(accepted.is_err());
    assert_eq!(refused.kind(), ErrorKind::Settings, "{refused}");
    assert!(refused.to_string().contains("does not accept this process"), "{refused}");
}

/// A connection that was there before the secret changed.
#[tokio::test]
async fn a_connection_outlives_a_change_of_the_secret() {
    let directory = TempDir::new().unwrap();
    let tls = secret(directory.path(), FIRST);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (dialled, accepted) =
        tokio::join!(tls.dial(stream), async { tls.accept(listener.accept().await.unwrap().0).await });
    let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
    fs::write(directory.path().join("secret"), SECOND).unwrap();
    // Of two that look at a changed file at once, one goes on with what it knows.
    tls.proof().await;
    assert!(meet(&tls, &tls).await.0.is_ok());
    let (one, other) = tokio::join!(talk(dialled), talk(accepted));
    assert!(one.is_ok() && other.is_ok());
}

/// An authority, and what it signs.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Writes the files of a process that bears these names.
    fn enrol(
        &self,
        directory: &Path,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> ProofPlace {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let [cert, key_file, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|name| directory.join(name));
        fs::write(&cert, certificate.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        fs::write(&ca, &self.pem).unwrap();
        ProofPlace::Certificates { certificate: cert, key: key_file, authorities: ca }
    }

    fn member(&self, names: &[&str]) -> (TempDir, Tls) {
        let directory = TempDir::new().unwrap();
        let place = self.enrol(directory.path(), names, |_| {});
        (directory, Tls::open(place).unwrap())
    }
}

#[tokio::test]
async fn certificates_of_one_authority_with_one_name_in_common_meet() {
    let authority = Authority::new();
    let (_a_files, a) = authority.member(&["cards.internal", "host-a"]);
    let (_b_files, b) = authority.member(&["host-b", "cards.internal"]);
    let (dialled, accepted) = meet(&a, &b).await;
    assert!(dialled.is_ok() && accepted.is_ok(), "{dialled:?} {accepted:?}");
}

#[tokio::test]
async fn a_wildcard_makes_no_member() {
    let authority = Authority::new();
    let (_member_files, member) = authority.member(&["cards.internal"]);
    let (_other_files, other) = authority.member(&["*.internal", "other.internal"]);
    for (dialler, acceptor) in [(&member, &other), (&other, &member)] {
        let (dialled, accepted) = meet(dialler, acceptor).await;
        assert!(dialled.is_err() && accepted.is_err(), "{dialled:?} {accepted:?}");
    }
}

#[tokio::test]
async fn certificates_of_another_authority_or_another_service_are_refused() {
    let authority = Authority::new();
    let (_a_files, a) = authority.member(&["cards.internal"]);
    let (_other_files, other_service) = authority.member(&["billing.internal"]);
    let (_foreign_files, foreign) = Authority::new().member(&["cards.internal"]);
    let secret_file = TempDir::new().unwrap();
    let by_secret = secret(secret_file.path(), FIRST);
    for stranger in [&other_service, &foreign, &by_secret] {
        for (dialler, acceptor) in [(&a, stranger), (stranger, &a)] {
            let (dialled, accepted) = meet(dialler, acceptor).await;
            let (dialled, accepted) = (dialled.unwrap_err(), accepted.unwrap_err());
            assert_eq!(dialled.kind(), ErrorKind::Settings, "{dialled}");
            assert_eq!(accepted.kind(), ErrorKind::Settings, "{accepted}");
        }
    }
}

/// Other peers notice themselves that the secrets differ; this one checks nothing.
#[tokio::test]
async fn a_peer_that_checks_nothing_is_refused_by_the_end_that_takes_the_connection() {
    let authority = Authority::new();
    let (_files, member) = authority.member(&["cards.internal"]);
    let directory = TempDir::new().unwrap();
    let by_secret = secret(directory.path(), FIRST);
    for (acceptor, expected) in [(&member, "it proves nothing"), (&by_secret, "its TLS is of another kind")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (heard, accepted) = tokio::join!(credulous(listener.local_addr().unwrap()), async {
            acceptor.accept(listener.accept().await.unwrap().0).await
        });
        let error = accepted.err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(heard, b"", "it has learnt something");
    }
}

/// The proof of a process that has these files.
fn proof(place: &ProofPlace) -> Proof {
    let read = |path| fs::read(path).unwrap();
    match place {
        ProofPlace::Secret(path) => by_secret::proof(&read(path)),
        ProofPlace::Certificates { certificate, key, authorities } => {
            certificates::proof(&read(certificate), &read(key), &read(authorities))
        }
    }
    .unwrap()
}

/// The first secret's public key, which everybody can learn, with the private key of the second.
fn forged() -> Arc<CertifiedKey> {
    let key_of = |text: &str| {
        let client = by_secret::proof(text.as_bytes()).unwrap().client;
        client.client_auth_cert_resolver.resolve(&[], &[SignatureScheme::ED25519]).unwrap()
    };
    let (shown, signing) = (key_of(FIRST), key_of(SECOND));
    Arc::new(CertifiedKey::new(shown.cert.clone(), Arc::clone(&signing.key)))
}

/// The result, at the end that takes a connection, for a peer that believes anybody and proves itself by `own`.
async fn taken(acceptor: &Tls, own: Arc<dyn ResolvesClientCert>) -> Result<()> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous { has_raw_key: own.only_raw_public_keys() }))
        .with_client_cert_resolver(own);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::join!(hear(config, address), async { acceptor.accept(listener.accept().await?.0).await.map(drop) })
        .1
}

/// The end that opens a connection checks as well, and would hide what this one lets pass.
#[tokio::test]
async fn the_end_that_takes_a_connection_checks_by_itself() {
    let (authority, other_authority) = (Authority::new(), Authority::new());
    let directories: Vec<_> = (0..5).map(|_| TempDir::new().unwrap()).collect();
    let place_of_secret = |at: usize, text: &str| {
        let path = directories[at].path().join("secret");
        fs::write(&path, text).unwrap();
        ProofPlace::Secret(path)
    };
    let enrol = |authority: &Authority, at: usize, name: &str| {
        authority.enrol(directories[at].path(), &[name], |_| {})
    };
    let secrets = [place_of_secret(0, FIRST), place_of_secret(1, SECOND)];
    let certificates = [
        enrol(&authority, 2, "cards.internal"),
        enrol(&authority, 3, "billing.internal"),
        enrol(&other_authority, 4, "cards.internal"),
    ];
    for places in [&secrets[..], &certificates[..]] {
        let member = Tls::open(places[0].clone()).unwrap();
        for (at, place) in places.iter().enumerate() {
            let own = Arc::clone(&proof(place).client.client_auth_cert_resolver);
            let kind = taken(&member, own).await.err().map(|error| error.kind());
            assert_eq!(kind, (at > 0).then_some(ErrorKind::Settings), "{place:?}");
        }
    }
    let member = Tls::open(secrets[0].clone()).unwrap();
    let forged = taken(&member, Arc::new(AlwaysResolvesClientRawPublicKeys::new(forged()))).await;
    assert!(forged.is_err(), "it does not know the secret");
}

/// The answer to a stranger that accepts any certificate and has none.
async fn credulous(address: SocketAddr) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous { has_raw_key: false }))
        .with_no_client_auth();
    hear(config, address).await
}

async fn hear(config: ClientConfig, address: SocketAddr) -> Vec<u8> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("anybody").unwrap();
    let mut heard = Vec::new();
    if let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut heard)).await;
    }
    heard
}

#[derive(Debug)]
struct Credulous {
    has_raw_key: bool,
}

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.has_raw_key
    }
}

#[tokio::test]
async fn what_speaks_no_tls_is_answered_with_an_alert_at_most() {
    let directory = TempDir::new().unwrap();
    let tls = secret(directory.path(), FIRST);
    for garbage in
        [&b"FLTC\x01\x00\x05\x00\x00\x00\x01x\x01\x01"[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 4096]]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (answer, accepted) = tokio::join!(
            async {
                let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let mut answer = Vec::new();
                let _ = stream.write_all(garbage).await;
                let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
                answer
            },
            async { tls.accept(listener.accept().await.unwrap().0).await }
        );
        let error = accepted.err().unwrap().to_string();
        assert!(error.contains("it does not speak TLS"), "{error}");
        assert!(answer.is_empty() || (answer[0] == 0x15 && answer.len() == 7), "{answer:02x?}");
    }
}

#[test]
fn certificates_that_no_peer_would_accept_are_refused_at_the_start() {
    let authority = Authority::new();
    let refused = |names: &[&str], change: &dyn Fn(&mut CertificateParams)| {
        let directory = TempDir::new().unwrap();
        let error = Tls::open(authority.enrol(directory.path(), names, change)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Settings);
        error.to_string()
    };
    let error = refused(&["10.0.0.7"], &|_| {});
    assert!(error.contains("bears no DNS name"), "{error}");
    let error = refused(&["cards"], &|params| params.not_after = date_time_ymd(2001, 1, 1));
    assert!(error.contains("would be refused"), "{error}");
    let error = refused(&["cards"], &|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert!(error.contains("both the server and the client"), "{error}");
    // Another process's key, and another authority.
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    authority.enrol(one.path(), &["cards"], |_| {});
    Authority::new().enrol(other.path(), &["cards"], |_| {});
    let place = |certificate: &TempDir, key: &TempDir, authorities: &TempDir| ProofPlace::Certificates {
        certificate: certificate.path().join("cert.pem"),
        key: key.path().join("key.pem"),
        authorities: authorities.path().join("ca.pem"),
    };
    let error = Tls::open(place(&one, &other, &one)).err().unwrap().to_string();
    assert!(error.contains("do not belong together"), "{error}");
    let error = Tls::open(place(&one, &one, &other)).err().unwrap().to_string();
    assert!(error.contains("would be refused"), "{error}");
    fs::write(one.path().join("cert.pem"), "no certificate").unwrap();
    let error = Tls::open(place(&one, &one, &one)).err().unwrap().to_string();
    assert!(error.contains("`tls_cert`: no PEM certificate"), "{error}");
}
