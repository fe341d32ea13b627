//! Connections between TaskManagers: one per pair and attempt, carrying all channels between the two.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flott_core::{Error, ErrorKind, Result, ResultExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::exchange::{ExchangeSession, PeerLink};

/// `HOST:PORT` of a TaskManager's exchange.
pub type ExchangeAddress = String;

/// A TaskManager's number within one attempt.
pub type PeerIndex = u32;

const MAGIC: [u8; 4] = *b"FLTX";
const VERSION: u16 = 1;
const HELLO_BYTES: usize = 4 + 2 + 3 * 8 + 4;

/// Time for a peer to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Time to reach a peer, which listens whatever else it does.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that arrived before their attempt was deployed here. No attempt has more: max parallelism ends here.
const EARLY_CONNECTIONS_MAX: usize = 32_768;

/// How patient a TaskManager is with its peers.
#[derive(Clone, Copy, Debug)]
pub struct PeerPatience {
    /// Those that have more state to restore connect later, and are awaited for so long.
    pub arrival_timeout: Duration,
    /// How often a TaskManager shows its peers that it lives.
    pub heartbeat_interval: Duration,
    /// A peer that was silent for so long is lost: packets between the two may be dropped while both reach the JobManager.
    pub heartbeat_timeout: Duration,
}

/// What connections must agree on: the cluster, the JobManager's reign, the attempt. An old attempt's TaskManager cannot
/// reach a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    /// The leader epoch.
    pub epoch: u64,
    /// The attempt.
    pub attempt: u64,
    /// A number that differs between clusters.
    pub cluster: u64,
}

enum Arrival {
    Stream(TcpStream),
    Awaited(oneshot::Sender<TcpStream>),
}

type Arrivals = Mutex<BTreeMap<(SessionKey, PeerIndex), Arrival>>;

fn lock(arrivals: &Arrivals) -> MutexGuard<'_, BTreeMap<(SessionKey, PeerIndex), Arrival>> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes connections from other TaskManagers.
pub struct ExchangeListener {
    port: u16,
    arrivals: Arc<Arrivals>,
    accepting: JoinHandle<()>,
}

impl ExchangeListener {
    /// Listens on `address`; port 0 takes any.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub async fn bind(address: &str) -> Result<Self> {
        let context = format!("cannot listen on {address} for other TaskManagers");
        let listener = TcpListener::bind(address).await.or_error(ErrorKind::Settings, &context)?;
        let port = listener.local_addr().or_error(ErrorKind::Settings, &context)?.port();
        let arrivals = Arc::new(Arrivals::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&arrivals)));
        Ok(Self { port, arrivals, accepting })
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connects this process, `me`, with all peers of an attempt: dials those with a higher number, awaits the others.
    /// `on_lost` is called, at most once per peer, when a connection breaks.
    ///
    /// # Errors
    /// [`ErrorKind::Transient`] when a peer cannot be reached in time.
    pub async fn connect(
        &self,
        key: SessionKey,
        me: PeerIndex,
        peers: Vec<(PeerIndex, ExchangeAddress, PeerLink)>,
        patience: PeerPatience,
        on_lost: Arc<dyn Fn(PeerIndex, Error) + Send + Sync>,
    ) -> Result<ExchangeSession> {
        // Connections of older attempts will not be asked for any more.
        lock(&self.arrivals).retain(|(other, _), _| *other >= key);
        let mut connecting = JoinSet::new();
        for (peer, address, link) in peers {
            let awaited = (peer < me).then(|| self.await_peer(key, peer));
            let wait = if awaited.is_some() { patience.arrival_timeout } else { DIAL_TIMEOUT };
            connecting.spawn(async move {
                let stream = timeout(wait, async {
                    match awaited {
                        Some(awaited) => {
                            awaited.await.map_err(|_| Error::transient("a newer attempt took over"))
                        }
                        None => dial(&address, key, me).await,
                    }
                });
                let stream = stream.await.unwrap_or_else(|_| Err(Error::transient("no connection in time")));
                let stream = stream.map_err(|error| {
                    error
                        .with_kind(ErrorKind::Transient)
                        .context(format!("exchange with TaskManager at {address}"))
                });
                (peer, link, stream)
            });
        }
        let mut session = ExchangeSession::default();
        while let Some(connected) = connecting.join_next().await {
            let (peer, link, stream) = connected.or_error(ErrorKind::Internal, "connecting to a peer")?;
            session.attach(peer, link, stream?, patience, &on_lost)?;
        }
        Ok(session)
    }

    fn await_peer(&self, key: SessionKey, peer: PeerIndex) -> oneshot::Receiver<TcpStream> {
        let (sender, receiver) = oneshot::channel();
        let mut arrivals = lock(&self.arrivals);
        match arrivals.remove(&(key, peer)) {
            // The receiver cannot be gone: it is returned below.
            Some(Arrival::Stream(stream)) => drop(sender.send(stream)),
            _ => drop(arrivals.insert((key, peer), Arrival::Awaited(sender))),
        }
        receiver
    }
}

impl Drop for ExchangeListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, arrivals: Arc<Arrivals>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: wait for some to become free.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let arrivals = Arc::clone(&arrivals);
        tokio::spawn(async move {
            match timeout(HELLO_TIMEOUT, read_hello(stream)).await {
                Ok(Ok((key, peer, stream))) => arrive(&arrivals, EARLY_CONNECTIONS_MAX, key, peer, stream),
                Ok(Err(error)) => tracing::warn!(%error, "refused a connection to the exchange"),
                Err(_) => tracing::warn!("a connection to the exchange did not say who it is"),
            }
        });
    }
}

fn arrive(arrivals: &Arrivals, capacity: usize, key: SessionKey, peer: PeerIndex, stream: TcpStream) {
    let mut arrivals = lock(arrivals);
    match arrivals.remove(&(key, peer)) {
        Some(Arrival::Awaited(sender)) => drop(sender.send(stream)),
        _ if arrivals.len() < capacity || forget_older(&mut arrivals, key) => {
            arrivals.insert((key, peer), Arrival::Stream(stream));
        }
        _ => tracing::warn!(?key, peer, "refused a connection to the exchange: too many wait already"),
    }
}

/// Makes room for a connection of this attempt at the cost of an older one.
fn forget_older(arrivals: &mut BTreeMap<(SessionKey, PeerIndex), Arrival>, key: SessionKey) -> bool {
    let mut older = arrivals.range(..(key, 0));
    let stream = older.find(|(_, arrival)| matches!(arrival, Arrival::Stream(_)));
    let oldest = stream.map(|(&oldest, _)| oldest);
    oldest.is_some_and(|oldest| arrivals.remove(&oldest).is_some())
}

async fn dial(address: &str, key: SessionKey, me: PeerIndex) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut hello = Vec::with_capacity(HELLO_BYTES);
    hello.extend_from_slice(&MAGIC);
    hello.extend_from_slice(&VERSION.to_le_bytes());
    for number in [key.cluster, key.epoch, key.attempt] {
        hello.extend_from_slice(&number.to_le_bytes());
    }
    hello.extend_from_slice(&me.to_le_bytes());
    stream.write_all(&hello).await?;
    Ok(stream)
}

async fn read_hello(mut stream: TcpStream) -> Result<(SessionKey, PeerIndex, TcpStream)> {
    stream.set_nodelay(true)?;
    let mut hello = [0; HELLO_BYTES];
    stream.read_exact(&mut hello).await?;
    let (magic, rest) = hello.split_at(4);
    let (version, rest) = rest.split_at(2);
    if magic != MAGIC || version != VERSION.to_le_bytes() {
        return Err(Error::transient("the connection is not from a TaskManager of this version"));
    }
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&rest[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let key = SessionKey { cluster: number(0), epoch: number(8), attempt: number(16) };
    let mut peer = [0; 4];
    peer.copy_from_slice(&rest[24..28]);
    Ok((key, PeerIndex::from_le_bytes(peer), stream))
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use flott_core::{Batch, StreamElement};

    use super::*;
    use crate::{
        exchange::{ChannelId, RemoteReceiver, RemoteSender, session::HEARTBEAT},
        slot::SlotWaker,
    };

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

    fn silent() -> Arc<dyn Fn(PeerIndex, Error) + Send + Sync> {
        Arc::new(|_, _| {})
    }

    #[tokio::test]
    async fn two_processes_exchange_batches() {
        let (a, b) = (
            ExchangeListener::bind("127.0.0.1:0").await.unwrap(),
            ExchangeListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let (mut to_b, mut to_a) = (PeerLink::default(), PeerLink::default());
        let mut sender = RemoteSender::new(to_b.output(CHANNEL, SlotWaker::default()));
        let mut receiver = RemoteReceiver::<u64>::new(to_a.input(CHANNEL, SlotWaker::default()));
        let address = |listener: &ExchangeListener| format!("127.0.0.1:{}", listener.port());
        let (a_session, b_session) = tokio::join!(
            a.connect(KEY, 0, vec![(1, address(&b), to_b)], SOON, silent()),
            b.connect(KEY, 1, vec![(0, address(&a), to_a)], SOON, silent()),
        );
        let (_a_session, _b_session) = (a_session.unwrap(), b_session.unwrap());
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
    async fn garbage_and_a_lost_peer_are_reported() {
        let listener = ExchangeListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("127.0.0.1:{}", listener.port());
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
        let mut peer = dial(&address, KEY, 0).await.unwrap();
        let session = listener.connect(KEY, 1, unlinked(0..1), SOON, on_lost).await;
        peer.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
        let (peer, error) = timeout(Duration::from_secs(5), was_lost).await.unwrap().unwrap();
        assert_eq!(peer, 0);
        assert!(error.to_string().contains("a frame of 4294967295 bytes"), "{error}");
        drop(session);
    }

    #[tokio::test]
    async fn peers_are_awaited_for_as_long_as_it_is_said() {
        let listener = ExchangeListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("127.0.0.1:{}", listener.port());
        let soon = Duration::from_millis(10);
        let hasty = PeerPatience { arrival_timeout: soon, ..SOON };
        let awaiting = listener.connect(KEY, 1, unlinked(0..1), hasty, silent()).await;
        assert!(awaiting.err().unwrap().to_string().contains("no connection in time"));
        let (session, dialled) =
            tokio::join!(listener.connect(KEY, 1, unlinked(0..1), SOON, silent()), async {
                tokio::time::sleep(20 * soon).await;
                dial(&address, KEY, 0).await
            });
        assert!(session.is_ok() && dialled.is_ok());
    }

    #[tokio::test]
    async fn connections_of_a_large_attempt_all_wait() {
        let listener = ExchangeListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("127.0.0.1:{}", listener.port());
        let mut dialled = Vec::new();
        for peer in 0..100 {
            dialled.push(dial(&address, KEY, peer).await.unwrap());
        }
        while lock(&listener.arrivals).len() < dialled.len() {
            tokio::task::yield_now().await;
        }
        assert!(listener.connect(KEY, 100, unlinked(0..100), SOON, silent()).await.is_ok());
    }

    #[tokio::test]
    async fn a_connection_that_waits_gives_way_only_to_a_newer_attempt() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (old, new) = (SessionKey { attempt: 2, ..KEY }, KEY);
        let arrivals = Arrivals::default();
        let (awaiting, _awaited) = oneshot::channel();
        lock(&arrivals).insert((old, 9), Arrival::Awaited(awaiting));
        for (key, peer) in [(old, 0), (new, 1), (new, 2), (old, 3)] {
            arrive(&arrivals, 3, key, peer, TcpStream::connect(address).await.unwrap());
        }
        let waiting: Vec<_> = lock(&arrivals).keys().copied().collect();
        assert_eq!(waiting, [(old, 9), (new, 1), (new, 2)]);
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
        let (a, b) = (
            ExchangeListener::bind("127.0.0.1:0").await.unwrap(),
            ExchangeListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let address = |listener: &ExchangeListener| format!("127.0.0.1:{}", listener.port());
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
        let listener = ExchangeListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("127.0.0.1:{}", listener.port());
        let mut fallen = dial(&address, KEY, 0).await.unwrap();
        let restoring = dial(&address, KEY, 1).await.unwrap();
        let (on_lost, mut lost) = lost_peers();
        let session = listener.connect(KEY, 2, unlinked(0..2), SOON, on_lost).await.unwrap();
        fallen.write_all(&HEARTBEAT).await.unwrap();
        let (peer, error) = timeout(Duration::from_secs(5), lost.recv()).await.unwrap().unwrap();
        assert_eq!(peer, 0);
        assert!(error.to_string().contains("nothing was heard for 20ms"), "{error}");
        assert!(timeout(LATER, lost.recv()).await.is_err());
        drop((session, restoring));
    }
}
