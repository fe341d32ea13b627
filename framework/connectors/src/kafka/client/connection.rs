//! One connection to one broker, one request in flight.

use std::{collections::BTreeMap, io, time::Duration};

use bytes::Bytes;
use flott_core::{Error, ErrorKind, ResultExt};
use kafka_protocol::{messages::ApiVersionsRequest, protocol::Request};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    frame, sasl,
    settings::{BrokerAddress, ClientSettings, settings_error},
};

/// Maximum time for a broker to accept a connection, TLS included. A broker that takes longer must not hold up the others.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a long answer that are read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Why one attempt of a call did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may succeed on a new connection, at another broker, or later.
    Retry(Error),
    /// No repeat can help.
    Stop(Error),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An authenticated connection. After any failure it must be dropped: an answer may still be under way.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    address: BrokerAddress,
    request_timeout: Duration,
    correlation: i32,
    versions: BTreeMap<i16, (i16, i16)>,
}

impl Connection {
    /// Connects, asks for the broker's versions, and logs in.
    pub(super) async fn open(
        address: &BrokerAddress,
        settings: &ClientSettings,
        tls: Option<&TlsConnector>,
    ) -> Result<Self, Failure> {
        let patience = settings.request_timeout.min(CONNECT_TIMEOUT);
        let stream = timeout(patience, connect(address, tls))
            .await
            .map_err(|_| lost(address, &format!("no connection within {patience:?}")))??;
        let mut connection = Self {
            stream,
            address: address.clone(),
            request_timeout: settings.request_timeout,
            correlation: frame::CORRELATION_FIRST,
            versions: BTreeMap::new(),
        };
        connection.ask_versions().await?;
        if let Some(sasl) = &settings.sasl {
            sasl::authenticate(&mut connection, sasl).await?;
        }
        Ok(connection)
    }

    /// The broker at the other end.
    pub(super) fn address(&self) -> &BrokerAddress {
        &self.address
    }

    /// The highest version of `R` that the broker speaks, at most `version_max`.
    pub(super) fn version<R: Request>(&self, version_max: i16) -> Result<i16, Failure> {
        match self.versions.get(&R::KEY) {
            Some(&(low, high)) if low <= version_max => Ok(high.min(version_max)),
            found => Err(Failure::Stop(settings_error(format!(
                "broker {} cannot be used: it has request {} in versions {found:?}, Flott needs at most version \
                 {version_max}; exactly-once needs Apache Kafka 3.0 or newer",
                self.address,
                R::KEY
            )))),
        }
    }

    /// Sends `request` in the highest common version up to `version_max`, and waits for the answer.
    pub(super) async fn call<R: Request>(
        &mut self,
        request: &R,
        version_max: i16,
    ) -> Result<R::Response, Failure> {
        let version = self.version::<R>(version_max)?;
        self.call_in(request, version).await
    }

    async fn ask_versions(&mut self) -> Result<(), Failure> {
        let answer = self.call_in(&ApiVersionsRequest::default(), 0).await?;
        if answer.error_code != 0 {
            return Err(lost(&self.address, "it does not tell its versions"));
        }
        self.versions =
            answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Ok(())
    }

    async fn call_in<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, Failure> {
        self.correlation = self.correlation.wrapping_add(1);
        let bytes = frame::encode(request, version, self.correlation).map_err(Failure::Stop)?;
        let answer = match timeout(self.request_timeout, self.exchange(&bytes)).await {
            Ok(answer) => answer?,
            Err(_) => return Err(lost(&self.address, "no answer within the request timeout")),
        };
        frame::decode::<R>(answer, version, self.correlation)
            .map_err(|error| Failure::Retry(error.context(format!("broker {}", self.address))))
    }

    /// Sends `request` and gives the answer, from behind its correlation id, to `take`, piece by piece: it may have any length.
    /// Each piece has to come within the request timeout.
    pub(super) async fn call_in_pieces<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        mut take: impl FnMut(&[u8]) -> flott_core::Result<()>,
    ) -> Result<(), Failure> {
        self.correlation = self.correlation.wrapping_add(1);
        let bytes = frame::encode(request, version, self.correlation).map_err(Failure::Stop)?;
        let patience = self.request_timeout;
        let silent = |address: &BrokerAddress| lost(address, "no answer within the request timeout");
        let head = timeout(patience, self.begin_exchange(&bytes)).await;
        let head = head.map_err(|_| silent(&self.address))??;
        let malformed = |error: Error, address: &BrokerAddress| {
            Failure::Retry(error.context(format!("broker {address}")))
        };
        let mut left = frame::long_response_length(head, self.correlation)
            .map_err(|error| malformed(error, &self.address))?;
        let mut piece = vec![0; PIECE_BYTES];
        while left > 0 {
            let wanted = left.min(PIECE_BYTES);
            let read = timeout(patience, self.stream.read(&mut piece[..wanted])).await;
            let read = read.map_err(|_| silent(&self.address))?;
            match read.map_err(|error| lost(&self.address, &format!("the connection broke: {error}")))? {
                0 => return Err(lost(&self.address, "the connection broke in the middle of an answer")),
                count => {
                    left -= count;
                    take(&piece[..count]).map_err(|error| malformed(error, &self.address))?;
                }
            }
        }
        Ok(())
    }

    /// Sends a request and reads length and correlation id of the answer.
    async fn begin_exchange(&mut self, request: &[u8]) -> Result<(i32, i32), Failure> {
        let broken = |error: io::Error| lost(&self.address, &format!("the connection broke: {error}"));
        self.stream.write_all(request).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)?;
        let length = self.stream.read_i32().await.map_err(broken)?;
        Ok((length, self.stream.read_i32().await.map_err(broken)?))
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Bytes, Failure> {
        let broken = |error: io::Error| lost(&self.address, &format!("the connection broke: {error}"));
        self.stream.write_all(request).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)?;
        let prefix = self.stream.read_i32().await.map_err(broken)?;
        let length = frame::response_length(prefix)
            .map_err(|error| Failure::Retry(error.context(format!("broker {}", self.address))))?;
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await.map_err(broken)?;
        Ok(Bytes::from(answer))
    }
}

async fn connect(address: &BrokerAddress, tls: Option<&TlsConnector>) -> Result<Box<dyn Stream>, Failure> {
    let failed = |error: io::Error| lost(address, &error.to_string());
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(address.host.clone())
        .or_error(ErrorKind::Settings, format!("broker {address} cannot be checked by its certificate"))
        .map_err(Failure::Stop)?;
    match tls.connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) if is_refusal(&error) => Err(Failure::Stop(Error::new(
            ErrorKind::Refused,
            format!("broker {address}: TLS failed: {error}; check security.protocol and ssl.*"),
        ))),
        Err(error) => Err(lost(address, &format!("TLS failed: {error}"))),
    }
}

/// Returns `true` if one end does not accept the other. Other alerts, such as that of a broker that is shutting down, pass by
/// themselves.
fn is_refusal(error: &io::Error) -> bool {
    use rustls::AlertDescription as Alert;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => true,
        Some(rustls::Error::AlertReceived(alert)) => matches!(
            alert,
            Alert::HandshakeFailure
                | Alert::NoCertificate
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::ProtocolVersion
                | Alert::InsufficientSecurity
                | Alert::UnrecognisedName
                | Alert::CertificateRequired
        ),
        _ => false,
    }
}

fn lost(address: &BrokerAddress, reason: &str) -> Failure {
    Failure::Retry(Error::new(ErrorKind::Unreachable, format!("broker {address}: {reason}")))
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
