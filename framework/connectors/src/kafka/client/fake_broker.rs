//! A broker that answers as a test tells it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, ApiVersionsResponse, ResponseHeader, api_versions_response::ApiVersion},
    protocol::{Encodable, decode_request_header_from_buffer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{BrokerAddress, ClientSettings, KafkaClient};

/// A request as it came: its key, its version and its fields.
pub(super) struct Asked {
    pub(super) key: ApiKey,
    pub(super) version: i16,
    pub(super) body: Bytes,
}

/// A port for one fake broker.
pub(super) struct FakeBroker {
    listener: TcpListener,
    pub(super) address: BrokerAddress,
}

impl FakeBroker {
    pub(super) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, address: BrokerAddress { host: "127.0.0.1".into(), port } }
    }

    /// Answers in the background; it hangs up where there is no answer. Versions it tells by itself.
    pub(super) fn serve(self, answer: impl Fn(&Asked) -> Option<Bytes> + Send + Sync + 'static) {
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = self.listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&answer)));
            }
        });
    }
}

async fn converse(mut stream: TcpStream, answer: Arc<impl Fn(&Asked) -> Option<Bytes>>) {
    while let Ok(length) = stream.read_i32().await {
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut frame).await.unwrap();
        let mut body = Bytes::from(frame);
        let header = decode_request_header_from_buffer(&mut body).unwrap();
        let (key, version) = (ApiKey::try_from(header.request_api_key).unwrap(), header.request_api_version);
        let asked = Asked { key, version, body };
        let answered = if key == ApiKey::ApiVersions { Some(versions(version)) } else { answer(&asked) };
        let Some(fields) = answered else { return };
        let mut response = BytesMut::new();
        let head = ResponseHeader::default().with_correlation_id(header.correlation_id);
        head.encode(&mut response, key.response_header_version(version)).unwrap();
        response.put(fields);
        stream.write_i32(i32::try_from(response.len()).unwrap()).await.unwrap();
        stream.write_all(&response).await.unwrap();
    }
}

/// The bytes of a response.
pub(super) fn fields(response: &impl Encodable, asked: &Asked) -> Option<Bytes> {
    let mut bytes = BytesMut::new();
    response.encode(&mut bytes, asked.version).unwrap();
    Some(bytes.freeze())
}

fn versions(version: i16) -> Bytes {
    let keys = (0..100).filter_map(|key| ApiKey::try_from(key).ok());
    let keys = keys.map(|key| {
        let range = key.valid_versions();
        ApiVersion::default().with_api_key(key as i16).with_min_version(range.min).with_max_version(range.max)
    });
    let mut bytes = BytesMut::new();
    ApiVersionsResponse::default().with_api_keys(keys.collect()).encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

/// A client of these brokers.
pub(super) fn client(bootstrap: &[&BrokerAddress], properties: &[(&str, &str)]) -> KafkaClient {
    let bootstrap: Vec<_> = bootstrap.iter().map(ToString::to_string).collect();
    let mut all = BTreeMap::from([("bootstrap.servers".to_owned(), bootstrap.join(","))]);
    all.extend(properties.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
    let settings = ClientSettings::from_properties(&all).unwrap();
    KafkaClient::new(
        settings.with_request_timeout(Duration::from_secs(2)).with_patience(Duration::from_secs(5)),
    )
    .unwrap()
}
