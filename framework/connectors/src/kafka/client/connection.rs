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
        let stream = timeout(settings.request_timeout, connect(address, tls))
            .await
            .map_err(|_| lost(address, "no connection within the request timeout"))??;
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
        Err(error) if is_certificate_problem(&error) => Err(Failure::Stop(settings_error(format!(
            "broker {address}: TLS failed: {error}; check security.protocol and ssl.*"
        )))),
        Err(error) => Err(lost(address, &format!("TLS failed: {error}"))),
    }
}

fn is_certificate_problem(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)))
}

fn lost(address: &BrokerAddress, reason: &str) -> Failure {
    Failure::Retry(Error::new(ErrorKind::Unreachable, format!("broker {address}: {reason}")))
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
