use std::{collections::BTreeMap, time::Duration};

use flott_core::ErrorKind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::super::{ClientSettings, KafkaClient};

/// A client of a server that answers every connection with `answer` and then keeps it open or closes it.
async fn client_of(answer: &'static [u8], closes: bool) -> KafkaClient {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 64];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer).await;
            if !closes {
                open.push(stream);
            }
        }
    });
    let properties = BTreeMap::from([("bootstrap.servers".to_owned(), address.to_string())]);
    let settings = ClientSettings::from_properties(&properties)
        .unwrap()
        .with_request_timeout(Duration::from_millis(50))
        .with_patience(Duration::from_millis(150));
    KafkaClient::new(settings).unwrap()
}

#[tokio::test]
async fn garbage_silence_and_hang_up_are_errors_within_the_patience() {
    for (answer, closes, says) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], false, "is this a Kafka port"),
        (b"\x7f\xff\xff\xff", false, "is this a Kafka port"),
        (b"\x00\x00\x00\x08garbage!", false, "correlation"),
        (b"", false, "no answer within"),
        (b"\x00\x00\x00\x08half", false, "no answer within"),
        (b"", true, "the connection broke"),
    ] {
        let error = client_of(answer, closes).await.cluster_id().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.to_string().contains("given up after 150ms"), "{error}");
    }
}

#[tokio::test]
async fn an_unreachable_broker_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let properties = BTreeMap::from([("bootstrap.servers".to_owned(), address.clone())]);
    let settings =
        ClientSettings::from_properties(&properties).unwrap().with_patience(Duration::from_millis(100));
    let error = KafkaClient::new(settings).unwrap().cluster_id().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains(&address), "{error}");
}
