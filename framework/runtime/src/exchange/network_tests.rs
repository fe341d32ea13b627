#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::{
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use flott_core::{Batch, Error, ErrorKind, StreamElement};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::timeout,
};

use super::{
    ByteStream, ChannelId, ExchangeAddress, ExchangeListener, Handshake, PeerIndex, PeerLink, PeerPatience,
    RemoteReceiver, RemoteSender, SecureTransport, SessionKey,
    network::{Entrance, STRANGERS_MAX, dial},
    session::HEARTBEAT,
    transport::PeerStream,
};
use crate::slot::SlotWaker;

const KEY: SessionKey = SessionKey { cluster: 1, epoch: 2, attempt: 3 };
const CHANNEL: ChannelId = ChannelId { edge: 0, from: 0, to: 1 };

const SOON: PeerPatience = PeerPatience {
    arrival_timeout: Duration::from_secs(10),
    heartbeat_interval: Duration::from_millis(5),
    heartbeat_timeout: Duration::from_millis(20),
};

fn unlinked(peers: Range<PeerIndex>) -> Vec<(PeerIndex, ExchangeAddress, PeerLink)> {
    peers.map(|peer| (peer, String::new(), PeerLink::default())).collect()
}

/// A listener that expects connections of [`KEY`].
async fn listener() -> ExchangeListener {
    listener_with(Entrance::new(None)).await
}

async fn listener_with(entrance: Entrance) -> ExchangeListener {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener = ExchangeListener::start_at(socket, entrance).unwrap();
    listener.expect(KEY.cluster, KEY.epoch);
    listener
}

fn address(listener: &ExchangeListener) -> String {
    format!("127.0.0.1:{}", listener.port())
}

async fn dial_plain(address: &str, key: SessionKey, me: PeerIndex) -> TcpStream {
    match dial(address, None, key, me).await.unwrap() {
        PeerStream::Plain(stream) => stream,
        PeerStream::Secure(_) => panic!("nothing was to be secured"),
    }
}

/// Waits until so many connections wait for their attempt.
async fn await_waiting(listener: &ExchangeListener, connections: usize) {
    let waiting = timeout(Duration::from_secs(5), async {
        while listener.waiting() != connections {
            tokio::task::yield_now().await;
        }
    });
    assert!(waiting.await.is_ok(), "{} connections wait", listener.waiting());
}

fn silent() -> Arc<dyn Fn(PeerIndex, Error) + Send + Sync> {
    Arc::new(|_, _| {})
}

/// Sends a batch from one process to the other.
async fn assert_that_batches_cross(a: &ExchangeListener, b: &ExchangeListener) {
    let (mut to_b, mut to_a) = (PeerLink::default(), PeerLink::default());
    let mut sender = RemoteSender::new(to_b.output(CHANNEL, SlotWaker::default()));
    let mut receiver = RemoteReceiver::<u64>::new(to_a.input(CHANNEL, SlotWaker::default()));
    let (a_session, b_session) = tokio::join!(
        a.connect(KEY, 0, vec![(1, address(b), to_b)], SOON, silent()),
        b.connect(KEY, 1, vec![(0, address(a), to_a)], SOON, silent()),
    );
    let _sessions = (a_session.unwrap(), b_session.unwrap());
    sender.send_batch(&mut Batch { records: vec![1u64, 2, 3], times: vec![] });
    sender.flush();
    let received = timeout(Duration::from_secs(5), async {
        loop {
            if let Some(StreamElement::Batch(batch)) = receiver.next().unwrap() {
                return batch.records;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(received.await.unwrap(), [1, 2, 3]);
}

#[tokio::test]
async fn two_processes_exchange_batches() {
    assert_that_batches_cross(&listener().await, &listener().await).await;
}

#[tokio::test]
async fn garbage_and_a_lost_peer_are_reported() {
    let listener = listener().await;
    let address = address(&listener);
    let mut garbage = TcpStream::connect(&address).await.unwrap();
    garbage.write_all(&[7; 200]).await.unwrap();
    assert_eq!(garbage.read(&mut [0; 1]).await.unwrap_or(0), 0, "the connection is closed");

    let (lost, was_lost) = oneshot::channel();
    let lost = Mutex::new(Some(lost));
    let on_lost = Arc::new(move |peer, error: Error| {
        if let Some(lost) = lost.lock().unwrap().take() {
            lost.send((peer, error)).unwrap();
        }
    });
    let mut peer = dial_plain(&address, KEY, 0).await;
    let session = listener.connect(KEY, 1, unlinked(0..1), SOON, on_lost).await;
    peer.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
    let (peer, error) = timeout(Duration::from_secs(5), was_lost).await.unwrap().unwrap();
    assert_eq!(peer, 0);
    assert!(error.to_string().contains("a frame of 4294967295 bytes"), "{error}");
    drop(session);
}

#[tokio::test]
async fn peers_are_awaited_for_as_long_as_it_is_said() {
    let listener = listener().await;
    let address = address(&listener);
    let soon = Duration::from_millis(10);
    let hasty = PeerPatience { arrival_timeout: soon, ..SOON };
    let awaiting = listener.connect(KEY, 1, unlinked(0..1), hasty, silent()).await;
    assert!(awaiting.err().unwrap().to_string().contains("no connection in time"));
    let (session, dialled) = tokio::join!(listener.connect(KEY, 1, unlinked(0..1), SOON, silent()), async {
        tokio::time::sleep(20 * soon).await;
        dial(&address, None, KEY, 0).await
    });
    assert!(session.is_ok() && dialled.is_ok());
}

#[tokio::test]
async fn connections_of_a_large_attempt_all_wait() {
    let listener = listener().await;
    let address = address(&listener);
    let mut dialled = Vec::new();
    for peer in 0..100 {
        dialled.push(dial_plain(&address, KEY, peer).await);
    }
    await_waiting(&listener, dialled.len()).await;
    assert!(listener.connect(KEY, 100, unlinked(0..100), SOON, silent()).await.is_ok());
}

type LostPeers = tokio::sync::mpsc::UnboundedReceiver<(PeerIndex, Error)>;

fn lost_peers() -> (Arc<dyn Fn(PeerIndex, Error) + Send + Sync>, LostPeers) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    (Arc::new(move |peer, error| drop(sender.send((peer, error)))), receiver)
}

/// Some timeouts later.
const LATER: Duration = Duration::from_millis(300);

#[tokio::test]
async fn peers_without_anything_to_say_stay_connected() {
    let (a, b) = (listener().await, listener().await);
    let (on_lost, mut lost) = lost_peers();
    let (a_session, b_session) = tokio::join!(
        a.connect(KEY, 0, vec![(1, address(&b), PeerLink::default())], SOON, Arc::clone(&on_lost)),
        b.connect(KEY, 1, unlinked(0..1), SOON, Arc::clone(&on_lost)),
    );
    assert!(a_session.is_ok() && b_session.is_ok());
    assert!(timeout(LATER, lost.recv()).await.is_err());
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_lost_and_one_that_restores_is_not() {
    let listener = listener().await;
    let address = address(&listener);
    let mut fallen = dial_plain(&address, KEY, 0).await;
    let restoring = dial_plain(&address, KEY, 1).await;
    let (on_lost, mut lost) = lost_peers();
    let session = listener.connect(KEY, 2, unlinked(0..2), SOON, on_lost).await.unwrap();
    fallen.write_all(&HEARTBEAT).await.unwrap();
    let (peer, error) = timeout(Duration::from_secs(5), lost.recv()).await.unwrap().unwrap();
    assert_eq!(peer, 0);
    assert!(error.to_string().contains("nothing was heard for 20ms"), "{error}");
    assert!(timeout(LATER, lost.recv()).await.is_err());
    drop((session, restoring));
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Strangers know neither the cluster's number nor its epoch.
#[tokio::test]
async fn two_thousand_strangers_keep_no_descriptor() {
    let listener = listener().await;
    let address = address(&listener);
    let before = descriptors();
    for peer in 0..2_000 {
        let key = SessionKey { cluster: 0, epoch: u64::MAX, attempt: 0 };
        let mut refused = dial_plain(&address, key, peer).await;
        assert_eq!(refused.read(&mut [0; 1]).await.unwrap_or(0), 0, "the connection is closed");
    }
    assert_eq!(listener.waiting(), 0);
    // Other tests of this process use some.
    assert!(descriptors() < before + 200, "{before} descriptors, then {}", descriptors());
}

#[tokio::test]
async fn strangers_who_say_nothing_are_bounded_and_keep_nobody_out_for_long() {
    let mut entrance = Entrance::new(None);
    entrance.hello_timeout = Duration::from_millis(500);
    let listener = listener_with(entrance).await;
    let address = address(&listener);
    let (mut strangers, before) = (Vec::new(), descriptors());
    for _ in 0..1_000 {
        let mut stranger = TcpStream::connect(&address).await.unwrap();
        stranger.write_all(b"F").await.unwrap();
        strangers.push(stranger);
    }
    // Each has one end here; the listener has taken 256 of them at most. Other tests of this process use some.
    let open = descriptors();
    assert!(open < before + 1_000 + 256 + 200, "{before} descriptors, then {open}");
    let _peer = dial_plain(&address, KEY, 0).await;
    await_waiting(&listener, 1).await;
    for mut stranger in strangers {
        let read = timeout(Duration::from_secs(5), stranger.read(&mut [0; 1])).await;
        assert_eq!(read.expect("it is closed").unwrap_or(0), 0);
    }
}

#[tokio::test]
async fn a_peer_waits_while_as_many_strangers_are_there_as_are_allowed() {
    let mut entrance = Entrance::new(None);
    entrance.hello_timeout = Duration::from_secs(3600);
    let listener = listener_with(entrance).await;
    let address = address(&listener);
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS_MAX {
        strangers.push(TcpStream::connect(&address).await.unwrap());
    }
    let _peer = dial_plain(&address, KEY, 0).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(listener.waiting(), 0);
    strangers.pop();
    await_waiting(&listener, 1).await;
}

#[tokio::test]
async fn a_connection_whose_attempt_never_comes_is_closed() {
    let mut entrance = Entrance::new(None);
    entrance.early_age_max = Duration::from_millis(100);
    let listener = listener_with(entrance).await;
    let ahead = SessionKey { attempt: u64::MAX, ..KEY };
    let mut early = dial_plain(&address(&listener), ahead, 0).await;
    await_waiting(&listener, 1).await;
    let read = timeout(Duration::from_secs(5), early.read(&mut [0; 1])).await;
    assert_eq!(read.expect("it is closed").unwrap_or(0), 0);
    assert_eq!(listener.waiting(), 0);
}

/// Both ends begin with a byte, which is the wrong one at times.
struct Password(u8);

impl Password {
    async fn exchange(&self, mut stream: TcpStream) -> Result<Box<dyn ByteStream>, Error> {
        stream.write_all(&[self.0]).await?;
        if stream.read_u8().await? != self.0 {
            return Err(Error::new(ErrorKind::Settings, "another password"));
        }
        Ok(Box::new(stream))
    }
}

impl SecureTransport for Password {
    fn accept(&self, stream: TcpStream) -> Handshake<'_> {
        Box::pin(self.exchange(stream))
    }

    fn dial(&self, stream: TcpStream) -> Handshake<'_> {
        Box::pin(self.exchange(stream))
    }
}

#[tokio::test]
async fn batches_cross_a_secure_transport_that_both_ends_agree_on() {
    let with = |password| listener_with(Entrance::new(Some(Arc::new(Password(password)))));
    let (a, b, stranger) = (with(1).await, with(1).await, with(2).await);
    let refused = stranger.connect(KEY, 0, vec![(1, address(&b), PeerLink::default())], SOON, silent()).await;
    assert!(refused.err().unwrap().to_string().contains("another password"));
    assert_that_batches_cross(&a, &b).await;
}
